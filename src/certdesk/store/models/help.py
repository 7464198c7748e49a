"""The versions of the FAQ's entries: insert-only, so the history is the table."""

from typing import ClassVar

from django.db import models


class FaqVersion(models.Model):
    """One version of one entry. `key` names the entry and its anchor; `previous` makes edits collide.

    An entry that ships has no row until somebody changes it; its first row then has number 1 all the same.
    """

    key = models.SlugField(max_length=80, db_index=False)
    number = models.PositiveIntegerField()
    previous = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="next")
    question = models.CharField(max_length=200)
    answer = models.TextField()  # Markdown
    position = models.IntegerField()
    is_published = models.BooleanField()
    by = models.CharField(max_length=200)
    user = models.ForeignKey("store.User", on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="faq_version_once", fields=["key", "number"]),
            models.CheckConstraint(name="faq_number_starts_at_one", condition=models.Q(number__gte=1)),
        ]
