"""What CAA records said of the names that were asked for: evidence, insert-only."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("store", "0006_domain_validation"),
    ]

    operations = [
        migrations.CreateModel(
            name="CaaCheck",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=253)),
                ("allowed", models.BooleanField()),
                ("code", models.CharField(max_length=64)),
                ("found_at", models.CharField(blank=True, max_length=253)),
                ("records", models.JSONField()),
                ("server", models.CharField(blank=True, max_length=64)),
                ("question", models.JSONField()),
                ("evidence", models.JSONField()),
                ("at", models.DateTimeField()),
                (
                    "order",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="store.acmeorder",
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="store.organisation"
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.request",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("request__isnull", False)),
                        fields=["request", "-at"],
                        name="caa_newest",
                    )
                ],
            },
        ),
    ]
