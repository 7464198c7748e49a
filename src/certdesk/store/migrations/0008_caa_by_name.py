"""The newest answer about each name of an organisation, found without reading the answers."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("store", "0007_caa"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="caacheck",
            index=models.Index(fields=["organisation", "name", "id"], name="caa_by_name"),
        ),
    ]
