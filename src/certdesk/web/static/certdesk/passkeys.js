// Says in words what went wrong with a passkey; allauth's scripts report it as an event and nothing more.
"use strict";
(() => {
  const TOLD = {
    NotAllowedError: "The passkey was not used: it was cancelled, it took too long, or there is none for this site. Try again.",
    InvalidStateError: "This passkey is added already.",
    SecurityError: "This browser makes no passkeys for this address. Open the site by its name, over https.",
  };
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const place = document.querySelector("[data-passkey-error]");
    if (!place) { return; }
    const error = event.detail.exception;
    place.textContent = TOLD[error && error.name] || "The passkey could not be used. Try again, or choose another way.";
    place.hidden = false;
    place.focus();
  });
})();
