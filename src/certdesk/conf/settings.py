"""Django's settings, derived from the one typed configuration."""

from urllib.parse import unquote, urlsplit

from certdesk.conf.config import load_config
from certdesk.domain.errors import Misconfigured
from certdesk.domain.names.identifiers import url_host

CERTDESK = load_config()

SECRET_KEY = CERTDESK.secret_key.get_secret_value()
SECRET_KEY_FALLBACKS = [old.get_secret_value() for old in CERTDESK.secret_key_fallbacks]
DEBUG = False
ROOT_URLCONF = "certdesk.conf.urls"
WSGI_APPLICATION = "certdesk.conf.wsgi.application"
USE_TZ = True
TIME_ZONE = "Europe/London"
LANGUAGE_CODE = "en-gb"
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "store.User"
APPEND_SLASH = True

_address = urlsplit(CERTDESK.url)
_tls = _address.scheme == "https"
ALLOWED_HOSTS = sorted(
    {
        *(url_host(urlsplit(url).hostname or "127.0.0.1") for url in (CERTDESK.url, CERTDESK.status)),
        *("127.0.0.1", "localhost", "[::1]"),
    }
)
CSRF_TRUSTED_ORIGINS = [CERTDESK.url]

INSTALLED_APPS = [
    "certdesk.web",  # before allauth: its templates are ours
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "django_tasks",
    "django_tasks_db",
    "certdesk.store",
    "certdesk.conf",
]

MIDDLEWARE = [
    "certdesk.web.middleware.SecurityHeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "certdesk.web.account.middleware.SessionLimitsMiddleware",
    "certdesk.web.middleware.SignInRequiredMiddleware",
    "certdesk.web.account.middleware.SecondFactorMiddleware",
    "certdesk.web.account.middleware.TooManyAttemptsMiddleware",
    "certdesk.web.middleware.ErrorMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["certdesk.web.filters"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "certdesk.web.context.service",
                "certdesk.web.account.context.account",
            ],
        },
    }
]


_SESSION = ("idle_in_transaction_session_timeout=60s", "plan_cache_mode=force_generic_plan")


def _database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": parts.path[1:] if parts.path.startswith("//") else parts.path,
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                # FULL: an intent that was acted on must survive a power cut, not only a crash.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
                "PRAGMA cache_size=-16384; PRAGMA mmap_size=268435456;",
            },
        }
    if parts.scheme in ("postgres", "postgresql"):
        query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
        shared = query.get("pooler") == "transaction"  # each transaction may get another session
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(query.get("host", parts.hostname or "")),
            "PORT": str(parts.port or ""),
            "DISABLE_SERVER_SIDE_CURSORS": shared,
            "OPTIONS": {
                "pool": {"min_size": 2, "max_size": CERTDESK.threads + 4},
                # What asks for it is prepared (store/driver.py), nothing else; in a shared session nothing.
                "prepare_threshold": None if shared else 2**31 - 1,
                # No transaction of ours waits for anything but the database: one that stands still gives up
                # its locks. What is prepared asks indexes, and is planned once, not six times. A pooler takes
                # no such options; there the first is set in PostgreSQL.
                **({} if shared else {"options": f"-c {' -c '.join(_SESSION)}"}),
            },
        }
    raise Misconfigured("DATABASE_URL must start with sqlite:/// or postgres://")


DATABASES = {"default": _database(CERTDESK.database_url)}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "certdesk_cache",
        # Limits of attempts live here: with Django's 300 entries, a flood would push them out.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}

AUTHENTICATION_BACKENDS = ["certdesk.web.account.backend.Backend"]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "certdesk.services.people.passwords.PasswordRules"}]
PASSWORD_HASHERS = ["certdesk.services.people.passwords.NormalisingPasswordHasher"]
PASSWORD_RESET_TIMEOUT = 3600
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "certdesk.web.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "change_password": "certdesk.web.account.forms.ChangePasswordForm",
    "reset_password": "certdesk.web.account.forms.ResetPasswordForm",
    "reset_password_from_key": "certdesk.web.account.forms.ResetPasswordKeyForm",
}
ACCOUNT_LOGOUT_REDIRECT_URL = "/accounts/login/"
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "django.contrib.auth.tokens.PasswordResetTokenGenerator"  # noqa: S105 - a class
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
# Wrong passwords are counted in `web.account.known`. `login_failed` is for codes of a second factor, after
# the right password; the key of a reset is the address that was typed. Many people may share an IP address.
ACCOUNT_RATE_LIMITS = {
    "login": None,
    "login_failed": "5/5m/key",
    "change_password": "5/m/user",
    "reauthenticate": "10/m/user",
    "reset_password": "100/10m/ip,3/10m/key",
    "reset_password_from_key": "300/m/ip",
}
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if CERTDESK.behind_proxy else 0
MFA_ADAPTER = "certdesk.web.adapter.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "activate_totp": "certdesk.web.account.forms.ActivateTotpForm",
    "authenticate": "certdesk.web.account.forms.CodeForm",
}
MFA_RATE_LIMITS = {"webauthn_login": "300/m/ip"}  # passkeys can't be guessed
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_TOLERANCE = 1  # a phone's clock may be half a minute off
MFA_ALLOW_UNVERIFIED_EMAIL = True  # addresses come from managers and officers, never from the person
MFA_RECOVERY_CODE_DIGITS = 10

SESSION_ENGINE = "certdesk.store.sessions"
SESSION_COOKIE_NAME = "__Host-certdesk" if _tls else "certdesk"
CSRF_COOKIE_NAME = "__Host-certdesk-csrf" if _tls else "certdesk-csrf"
KNOWN_COOKIE_NAME = "__Host-certdesk-known" if _tls else "certdesk-known"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _tls
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CSRF_FAILURE_VIEW = "certdesk.web.errors.csrf_failure"
SECURE_HSTS_SECONDS = 63_072_000 if _tls else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if CERTDESK.behind_proxy:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

STATIC_URL = "static/"
STATIC_ROOT = CERTDESK.data / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
FILE_UPLOAD_PERMISSIONS = 0o600  # the collected static files, which this process serves itself
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 512 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 400

if CERTDESK.smtp_host:
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST, EMAIL_PORT = CERTDESK.smtp_host, CERTDESK.smtp_port
    # Django checks the server's certificate, and its name, against the CAs of the host.
    EMAIL_USE_TLS, EMAIL_USE_SSL = CERTDESK.smtp_security == "starttls", CERTDESK.smtp_security == "tls"
    EMAIL_HOST_USER = CERTDESK.smtp_username
    EMAIL_HOST_PASSWORD = CERTDESK.smtp_password.get_secret_value()
    EMAIL_TIMEOUT = 20
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = CERTDESK.mail_directory
DEFAULT_FROM_EMAIL = CERTDESK.mail_from

LOGGING_CONFIG = None
