"""An index to find where a public key was used before, whichever organisation asks."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("store", "0004_revocation"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="request",
            index=models.Index(fields=["spki_sha256", "organisation", "id"], name="request_by_key"),
        ),
    ]
