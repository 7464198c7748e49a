import django.contrib.auth.models
import django.contrib.auth.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import certdesk.domain.issuing.states


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("seq", models.BigIntegerField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(max_length=200)),
                ("user_id", models.BigIntegerField(null=True)),
                ("action", models.CharField(max_length=64)),
                ("object_type", models.CharField(max_length=32)),
                ("object_id", models.CharField(max_length=64)),
                ("organisation_id", models.BigIntegerField(null=True)),
                ("data", models.JSONField()),
                ("previous_hash", models.CharField(max_length=64)),
                ("hash", models.CharField(max_length=64)),
            ],
            options={
                "indexes": [models.Index(fields=["object_type", "object_id", "seq"], name="audit_by_object")],
                "constraints": [models.UniqueConstraint(fields=("previous_hash",), name="audit_never_forks")],
            },
        ),
        migrations.CreateModel(
            name="CaReport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend", models.CharField(max_length=64)),
                ("at", models.DateTimeField()),
                ("took_ms", models.PositiveIntegerField()),
                ("checks", models.JSONField()),
            ],
            options={
                "indexes": [models.Index(fields=["backend", "-id"], name="ca_report_newest")],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="IssuerChain",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sha256", models.CharField(max_length=64, unique=True)),
                ("certificates", models.JSONField()),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="Organisation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("slug", models.SlugField(max_length=63, unique=True)),
                ("legal_name", models.CharField(max_length=64)),
                ("country", models.CharField(default="GB", max_length=2)),
                ("locality", models.CharField(blank=True, default="", max_length=128)),
                ("vetted_at", models.DateTimeField(null=True)),
                ("first_approved_at", models.DateTimeField(null=True)),
                ("ra_stopped_at", models.DateTimeField(null=True)),
                ("is_active", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="PublishedCrl",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend", models.CharField(max_length=64, unique=True)),
                ("issuer_sha256", models.CharField(max_length=64, unique=True)),
                ("number", models.BigIntegerField()),
                ("der", models.BinaryField()),
                ("revocations", models.PositiveBigIntegerField()),
                ("this_update", models.DateTimeField()),
                ("made_at", models.DateTimeField()),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="UsedNonce",
            fields=[
                ("nonce", models.UUIDField(primary_key=True, serialize=False)),
                ("expires_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        error_messages={"unique": "A user with that username already exists."},
                        help_text="Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.",
                        max_length=150,
                        unique=True,
                        validators=[django.contrib.auth.validators.UnicodeUsernameValidator()],
                        verbose_name="username",
                    ),
                ),
                ("first_name", models.CharField(blank=True, max_length=150, verbose_name="first name")),
                ("last_name", models.CharField(blank=True, max_length=150, verbose_name="last name")),
                ("email", models.EmailField(blank=True, max_length=254, verbose_name="email address")),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="Designates whether the user can log into this admin site.",
                        verbose_name="staff status",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                        verbose_name="active",
                    ),
                ),
                (
                    "date_joined",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="date joined"),
                ),
                (
                    "ra_role",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "NONE"),
                            ("officer", "OFFICER"),
                            ("auditor", "AUDITOR"),
                            ("operator", "OPERATOR"),
                        ],
                        default="",
                        max_length=16,
                    ),
                ),
                ("must_change_password", models.BooleanField(default=False)),
                (
                    "disabled_by",
                    models.CharField(
                        blank=True,
                        choices=[("", "NONE"), ("organisation", "ORGANISATION"), ("ra", "RA")],
                        default="",
                        max_length=16,
                    ),
                ),
                ("disabled_at", models.DateTimeField(null=True)),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("ra_role__in", ["", "officer", "auditor", "operator"])),
                        name="user_ra_role_known",
                    )
                ],
                "indexes": [],
            },
            managers=[
                ("objects", django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="api_tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("scopes", models.CharField(max_length=100)),
                (
                    "made_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="made",
                        to="store.apitoken",
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                ("revoked_by", models.CharField(blank=True, default="", max_length=150)),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="BlockedKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("spki_sha256", models.CharField(max_length=64)),
                (
                    "organisation",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.organisation",
                    ),
                ),
                ("reason", models.CharField(max_length=200)),
                (
                    "proof",
                    models.CharField(
                        choices=[("possession", "Possession"), ("officer", "Officer"), ("claim", "Claim")],
                        max_length=10,
                    ),
                ),
                ("by", models.CharField(max_length=200)),
                ("at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.CharField(blank=True, default="", max_length=200)),
                ("ended_reason", models.TextField(blank=True, default="")),
            ],
            options={
                "indexes": [models.Index(fields=["spki_sha256"], name="blocked_key_by_key")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at__isnull", True), ("organisation__isnull", True)),
                        fields=("spki_sha256",),
                        name="blocked_key_once_for_all",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at__isnull", True), ("organisation__isnull", False)),
                        fields=("spki_sha256", "organisation"),
                        name="blocked_key_once_for_one",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("proof", "claim"), _negated=True),
                            ("organisation__isnull", False),
                            _connector="OR",
                        ),
                        name="blocked_key_claim_is_for_one",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Domain",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="domains",
                        to="store.organisation",
                    ),
                ),
                ("adn", models.CharField(max_length=253)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organisation", "adn"), name="domain_once_per_organisation"
                    )
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="EabCredential",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="eab_credentials",
                        to="store.organisation",
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("kid", models.CharField(max_length=64, unique=True)),
                ("key_sealed", models.TextField()),
                ("suffixes", models.JSONField(default=list)),
                ("profile_id", models.CharField(blank=True, default="", max_length=64)),
                ("max_accounts", models.PositiveIntegerField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("rotated_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_accounts__isnull", True), ("max_accounts__gte", 1), _connector="OR"
                        ),
                        name="eab_allows_an_account",
                    )
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="FaqVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.SlugField(db_index=False, max_length=80)),
                ("number", models.PositiveIntegerField()),
                (
                    "previous",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="next",
                        to="store.faqversion",
                    ),
                ),
                ("question", models.CharField(max_length=200)),
                ("answer", models.TextField()),
                ("position", models.IntegerField()),
                ("is_published", models.BooleanField()),
                ("by", models.CharField(max_length=200)),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("key", "number"), name="faq_version_once"),
                    models.CheckConstraint(
                        condition=models.Q(("number__gte", 1)), name="faq_number_starts_at_one"
                    ),
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
                        to="store.organisation",
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[("applicant", "APPLICANT"), ("manager", "MANAGER")], max_length=16
                    ),
                ),
                ("is_active", models.BooleanField(default=True)),
                (
                    "disabled_by",
                    models.CharField(
                        blank=True,
                        choices=[("", "NONE"), ("organisation", "ORGANISATION"), ("ra", "RA")],
                        default="",
                        max_length=16,
                    ),
                ),
                ("disabled_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("user", "organisation"), name="membership_once"),
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["applicant", "manager"])),
                        name="membership_role_known",
                    ),
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="SettingsVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "previous",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="next",
                        to="store.settingsversion",
                    ),
                ),
                ("values", models.JSONField()),
                ("changed", models.JSONField()),
                ("by", models.CharField(max_length=200)),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("at", models.DateTimeField()),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="AcmeAccount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "credential",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="accounts",
                        to="store.eabcredential",
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="acme_accounts",
                        to="store.organisation",
                    ),
                ),
                ("thumbprint", models.CharField(max_length=43)),
                ("jwk", models.JSONField()),
                ("spki_sha256", models.CharField(max_length=64)),
                ("contacts", models.JSONField(default=list)),
                ("terms_agreed", models.BooleanField(default=False)),
                ("binding", models.JSONField()),
                ("created_at", models.DateTimeField()),
                ("deactivated_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField()),
                ("window_started_at", models.DateTimeField()),
                ("window_orders", models.PositiveIntegerField(default=0)),
                ("last_problem", models.TextField(blank=True, default="")),
                ("last_problem_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("spki_sha256",), name="account_once_per_key")
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="CaValidation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "domain",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="ca_validations",
                        to="store.domain",
                    ),
                ),
                ("ca", models.CharField(max_length=64)),
                ("valid_until", models.DateTimeField(null=True)),
                ("detail", models.CharField(blank=True, default="", max_length=200)),
                ("heard_from", models.CharField(max_length=200)),
                ("heard_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["domain", "ca", "-id"], name="ca_validation_newest")],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="EabCredentialSeen",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "credential",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="seen",
                        to="store.eabcredential",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "how",
                    models.CharField(
                        choices=[("create", "create"), ("rotate", "rotate"), ("reveal", "reveal")],
                        max_length=8,
                    ),
                ),
                ("at", models.DateTimeField()),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="EmailChallenge",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "domain",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="challenges",
                        to="store.domain",
                    ),
                ),
                ("adn", models.CharField(max_length=253)),
                ("mailbox", models.CharField(max_length=320)),
                ("digest", models.CharField(max_length=64, unique=True)),
                (
                    "asked_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("confirmed", "Confirmed"),
                            ("cancelled", "Cancelled"),
                            ("replaced", "Replaced"),
                        ],
                        default="open",
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("outcome", "open")),
                        fields=("domain", "mailbox"),
                        name="challenge_one_open_per_mailbox",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("expires_at__gt", models.F("created_at"))),
                        name="challenge_ends_after_it_starts",
                    ),
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="MethodChallenge",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "domain",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="method_challenges",
                        to="store.domain",
                    ),
                ),
                ("adn", models.CharField(max_length=253)),
                (
                    "method",
                    models.CharField(
                        choices=[
                            ("manual_ownership", "MANUAL_OWNERSHIP"),
                            ("email_constructed", "EMAIL_CONSTRUCTED"),
                            ("dns_txt", "DNS_TXT"),
                            ("dns_cname", "DNS_CNAME"),
                            ("http_file", "HTTP_FILE"),
                            ("acme_http_01", "ACME_HTTP"),
                            ("acme_dns_01", "ACME_DNS"),
                            ("acme_dns_account_01", "ACME_DNS_ACCOUNT"),
                            ("acme_tls_alpn_01", "ACME_TLS_ALPN"),
                            ("dns_persist", "DNS_PERSIST"),
                            ("dns_persist_wildcard", "DNS_PERSIST_WILDCARD"),
                        ],
                        max_length=32,
                    ),
                ),
                ("nonce", models.CharField(max_length=64)),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("issuer", models.CharField(max_length=253)),
                (
                    "asked_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("confirmed", "Confirmed"),
                            ("cancelled", "Cancelled"),
                            ("replaced", "Replaced"),
                        ],
                        default="open",
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("looks", models.PositiveIntegerField(default=0)),
                ("looked_at", models.DateTimeField(null=True)),
                ("next_look_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("next_look_at__isnull", False), ("outcome", "open")),
                        fields=["next_look_at"],
                        name="method_challenge_due",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("outcome", "open")),
                        fields=("domain", "method"),
                        name="method_challenge_one_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("expires_at__gt", models.F("created_at"))),
                        name="method_challenge_ends_after_it_starts",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PersistentRecord",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "domain",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="persistent",
                        to="store.domain",
                    ),
                ),
                ("adn", models.CharField(max_length=253)),
                ("wildcard", models.BooleanField()),
                (
                    "asked_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("stopped_at", models.DateTimeField(null=True)),
                ("looks", models.PositiveIntegerField(default=0)),
                ("looked_at", models.DateTimeField(null=True)),
                ("seen_at", models.DateTimeField(null=True)),
                ("missing_since", models.DateTimeField(null=True)),
                ("next_look_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("next_look_at__isnull", False)),
                        fields=["next_look_at"],
                        name="persistent_record_due",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("stopped_at__isnull", True), ("next_look_at__isnull", True), _connector="OR"
                        ),
                        name="persistent_record_stopped_is_not_due",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Request",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="requests",
                        to="store.organisation",
                    ),
                ),
                (
                    "requester",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="requests",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "acme_account",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="requests",
                        to="store.acmeaccount",
                    ),
                ),
                ("channel", models.CharField(max_length=16)),
                ("profile_id", models.CharField(max_length=64)),
                ("profile_version", models.PositiveIntegerField()),
                ("names", models.JSONField()),
                ("common_names", models.CharField(max_length=253)),
                ("duration_years", models.PositiveSmallIntegerField()),
                ("term_starts_at", models.DateTimeField(null=True)),
                ("term_ends_at", models.DateTimeField(null=True)),
                ("server_software", models.CharField(max_length=64)),
                ("note", models.TextField(blank=True, default="")),
                ("checks", models.JSONField()),
                ("policy_digest", models.CharField(max_length=64)),
                ("content_digest", models.CharField(max_length=64)),
                ("idempotency_key", models.CharField(max_length=128)),
                ("submission_digest", models.CharField(max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting_for_approval", "WAITING_FOR_APPROVAL"),
                            ("approved", "APPROVED"),
                            ("rejected", "REJECTED"),
                            ("withdrawn", "WITHDRAWN"),
                            ("ended", "ENDED"),
                        ],
                        max_length=24,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting_for_approval", "WAITING_FOR_APPROVAL"),
                            ("accepted", "ACCEPTED"),
                            ("submitted", "SUBMITTED"),
                            ("issued", "ISSUED"),
                            ("rejected_by_ra", "REJECTED_BY_RA"),
                            ("rejected_by_ca", "REJECTED_BY_CA"),
                            ("withdrawn", "WITHDRAWN"),
                        ],
                        max_length=24,
                    ),
                ),
                ("detail", models.TextField(blank=True, default="")),
                ("action_needed", models.BooleanField(default=False)),
                ("version", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
                ("search_text", models.TextField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["organisation", "-id"], name="request_newest"),
                    models.Index(fields=["organisation", "status", "-id"], name="request_by_status"),
                    models.Index(fields=["organisation", "common_names", "id"], name="request_by_name"),
                    models.Index(fields=["common_names", "id"], name="request_all_by_name"),
                    models.Index(fields=["status", "-id"], name="request_all_by_status"),
                    models.Index(
                        condition=models.Q(("action_needed", True)),
                        fields=["organisation", "-id"],
                        name="request_action_needed",
                    ),
                    models.Index(
                        condition=models.Q(("state", certdesk.domain.issuing.states.State["ENDED"])),
                        fields=["organisation", "-id"],
                        name="request_ended",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("channel", "acme"),
                            ("state", certdesk.domain.issuing.states.State["APPROVED"]),
                            models.Q(
                                ("status", certdesk.domain.issuing.states.Status["ISSUED"]), _negated=True
                            ),
                        ),
                        fields=["organisation", "profile_id", "-id"],
                        name="request_fresh",
                    ),
                    models.Index(fields=["requester", "submission_digest"], name="request_same_submission"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("requester", "idempotency_key"), name="request_once_per_key"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "state__in",
                                ["waiting_for_approval", "approved", "rejected", "withdrawn", "ended"],
                            )
                        ),
                        name="request_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "status__in",
                                [
                                    "waiting_for_approval",
                                    "accepted",
                                    "submitted",
                                    "issued",
                                    "rejected_by_ra",
                                    "rejected_by_ca",
                                    "withdrawn",
                                ],
                            )
                        ),
                        name="request_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("term_ends_at__isnull", False),
                            models.Q(
                                ("state", certdesk.domain.issuing.states.State["APPROVED"]), _negated=True
                            ),
                            _connector="OR",
                        ),
                        name="request_approved_has_a_term",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ValidationAttempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "domain",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="attempts",
                        to="store.domain",
                    ),
                ),
                (
                    "challenge",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="attempts",
                        to="store.methodchallenge",
                    ),
                ),
                ("adn", models.CharField(max_length=253)),
                (
                    "method",
                    models.CharField(
                        choices=[
                            ("manual_ownership", "MANUAL_OWNERSHIP"),
                            ("email_constructed", "EMAIL_CONSTRUCTED"),
                            ("dns_txt", "DNS_TXT"),
                            ("dns_cname", "DNS_CNAME"),
                            ("http_file", "HTTP_FILE"),
                            ("acme_http_01", "ACME_HTTP"),
                            ("acme_dns_01", "ACME_DNS"),
                            ("acme_dns_account_01", "ACME_DNS_ACCOUNT"),
                            ("acme_tls_alpn_01", "ACME_TLS_ALPN"),
                            ("dns_persist", "DNS_PERSIST"),
                            ("dns_persist_wildcard", "DNS_PERSIST_WILDCARD"),
                        ],
                        max_length=32,
                    ),
                ),
                ("code", models.CharField(max_length=64)),
                ("detail", models.TextField()),
                ("evidence", models.JSONField()),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["domain", "-id"], name="validation_attempt_newest")],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="AcmeOrder",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="orders",
                        to="store.acmeaccount",
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.organisation",
                    ),
                ),
                ("identifiers", models.JSONField()),
                ("profile_id", models.CharField(max_length=64)),
                (
                    "request",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="acme_orders",
                        to="store.request",
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("finalized_at", models.DateTimeField(null=True)),
                ("problem", models.JSONField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["account", "-id"], name="order_newest"),
                    models.Index(
                        condition=models.Q(("finalized_at__isnull", True)),
                        fields=["account", "expires_at"],
                        name="order_unfinished",
                    ),
                ],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="Approval",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="approvals",
                        to="store.request",
                    ),
                ),
                (
                    "verdict",
                    models.CharField(choices=[("approve", "approve"), ("reject", "reject")], max_length=8),
                ),
                ("by", models.CharField(max_length=200)),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("content_digest", models.CharField(max_length=64)),
                ("policy_digest", models.CharField(max_length=64)),
                ("csr_sha256", models.CharField(blank=True, default="", max_length=64)),
                ("waived", models.JSONField(default=list)),
                ("note", models.TextField(blank=True, default="")),
                ("message", models.TextField(blank=True, default="")),
                ("at", models.DateTimeField()),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="StoppedName",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="store.organisation"
                    ),
                ),
                ("name", models.CharField(max_length=253)),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="store.request"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "name"), name="stopped_name_once")
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="ValidationRecord",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "domain",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="validations",
                        to="store.domain",
                    ),
                ),
                (
                    "method",
                    models.CharField(
                        choices=[
                            ("manual_ownership", "MANUAL_OWNERSHIP"),
                            ("email_constructed", "EMAIL_CONSTRUCTED"),
                            ("dns_txt", "DNS_TXT"),
                            ("dns_cname", "DNS_CNAME"),
                            ("http_file", "HTTP_FILE"),
                            ("acme_http_01", "ACME_HTTP"),
                            ("acme_dns_01", "ACME_DNS"),
                            ("acme_dns_account_01", "ACME_DNS_ACCOUNT"),
                            ("acme_tls_alpn_01", "ACME_TLS_ALPN"),
                            ("dns_persist", "DNS_PERSIST"),
                            ("dns_persist_wildcard", "DNS_PERSIST_WILDCARD"),
                        ],
                        max_length=32,
                    ),
                ),
                ("source", models.CharField(max_length=64)),
                ("evidence", models.JSONField()),
                (
                    "validated_by",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.request",
                    ),
                ),
                ("validated_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                (
                    "ended_by",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("end_reason", models.CharField(blank=True, default="", max_length=500)),
            ],
            options={
                "indexes": [models.Index(fields=["domain", "-expires_at"], name="validation_fresh")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("expires_at__gt", models.F("validated_at")),
                            models.Q(("end_reason", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="validation_ends_after_it_starts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("end_reason", ""), ("ended_by__isnull", True)),
                            models.Q(
                                ("ended_by__isnull", False), models.Q(("end_reason", ""), _negated=True)
                            ),
                            _connector="OR",
                        ),
                        name="validation_ended_by_somebody_for_a_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AcmeAuthorization",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="authorizations",
                        to="store.acmeorder",
                    ),
                ),
                ("name", models.CharField(max_length=253)),
                ("wildcard", models.BooleanField()),
                ("token", models.CharField(max_length=43)),
                (
                    "record",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.validationrecord",
                    ),
                ),
                ("valid_until", models.DateTimeField(null=True)),
                ("failed_at", models.DateTimeField(null=True)),
                ("deactivated_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="CaaCheck",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.organisation",
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.request",
                    ),
                ),
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
                ("name", models.CharField(max_length=253)),
                ("allowed", models.BooleanField()),
                ("code", models.CharField(max_length=64)),
                ("found_at", models.CharField(blank=True, max_length=253)),
                ("records", models.JSONField()),
                ("server", models.CharField(blank=True, max_length=64)),
                ("question", models.JSONField()),
                ("evidence", models.JSONField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("request__isnull", False)),
                        fields=["request", "-at"],
                        name="caa_newest",
                    ),
                    models.Index(fields=["organisation", "name", "id"], name="caa_by_name"),
                ],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="Issuance",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="issuances",
                        to="store.request",
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.organisation",
                    ),
                ),
                ("channel", models.CharField(max_length=16)),
                ("asked_by", models.CharField(max_length=200)),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.acmeorder",
                    ),
                ),
                ("idempotency_key", models.CharField(max_length=128)),
                ("csr_der", models.BinaryField()),
                ("csr_sha256", models.CharField(max_length=64)),
                ("spki_der", models.BinaryField()),
                ("spki_sha256", models.CharField(max_length=64)),
                ("key", models.CharField(max_length=32)),
                ("csr_subject", models.JSONField()),
                ("profile_id", models.CharField(max_length=64)),
                ("names", models.JSONField()),
                ("backend", models.CharField(blank=True, default="", max_length=64)),
                ("profile_version", models.PositiveIntegerField(null=True)),
                ("intent_key", models.CharField(max_length=64, null=True)),
                ("subject", models.JSONField(default=list)),
                ("not_before", models.DateTimeField(null=True)),
                ("not_after", models.DateTimeField(null=True)),
                ("serial", models.CharField(max_length=40, null=True)),
                ("tbs", models.BinaryField(null=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "WAITING"),
                            ("claimed", "CLAIMED"),
                            ("submitted", "SUBMITTED"),
                            ("issued", "ISSUED"),
                            ("refused", "REFUSED"),
                            ("cancelled", "CANCELLED"),
                        ],
                        max_length=10,
                    ),
                ),
                ("version", models.PositiveIntegerField(default=0)),
                ("handle", models.CharField(blank=True, default="", max_length=255)),
                ("detail", models.TextField(blank=True, default="")),
                ("received", models.BinaryField(null=True)),
                ("tries", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField()),
                ("claimed_at", models.DateTimeField(null=True)),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("linted_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["request", "-id"], name="issuance_newest"),
                    models.Index(fields=["spki_sha256", "organisation", "id"], name="issuance_by_key"),
                    models.Index(
                        condition=models.Q(("ended_at__isnull", True)),
                        fields=["claimed_at"],
                        name="issuance_open",
                    ),
                    models.Index(
                        condition=models.Q(("next_attempt_at__isnull", False)),
                        fields=["next_attempt_at"],
                        name="issuance_due",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("linted_at__isnull", True),
                            ("state", certdesk.domain.issuing.states.Work["ISSUED"]),
                            ("tbs__isnull", False),
                        ),
                        fields=["id"],
                        name="issuance_to_be_linted",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("next_attempt_at__isnull", True),
                            ("state", certdesk.domain.issuing.states.Work["WAITING"]),
                        ),
                        fields=["organisation"],
                        name="issuance_idle",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "state__in",
                                ["waiting", "claimed", "submitted", "issued", "refused", "cancelled"],
                            )
                        ),
                        name="issuance_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("next_attempt_at__isnull", True),
                            models.Q(
                                (
                                    "state__in",
                                    [
                                        certdesk.domain.issuing.states.Work["CANCELLED"],
                                        certdesk.domain.issuing.states.Work["ISSUED"],
                                        certdesk.domain.issuing.states.Work["REFUSED"],
                                    ],
                                ),
                                _negated=True,
                            ),
                            _connector="OR",
                        ),
                        name="issuance_done_is_not_due",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("intent_key__isnull", False),
                            (
                                "state__in",
                                [
                                    certdesk.domain.issuing.states.Work["WAITING"],
                                    certdesk.domain.issuing.states.Work["CANCELLED"],
                                    certdesk.domain.issuing.states.Work["REFUSED"],
                                ],
                            ),
                            _connector="OR",
                        ),
                        name="issuance_claimed_has_an_intent",
                    ),
                    models.UniqueConstraint(fields=("intent_key",), name="issuance_once_per_intent"),
                    models.UniqueConstraint(
                        condition=models.Q(
                            ("order__isnull", True),
                            (
                                "state__in",
                                [
                                    certdesk.domain.issuing.states.Work["WAITING"],
                                    certdesk.domain.issuing.states.Work["CLAIMED"],
                                    certdesk.domain.issuing.states.Work["SUBMITTED"],
                                ],
                            ),
                        ),
                        fields=("request",),
                        name="issuance_one_open_per_request",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("order__isnull", False)),
                        fields=("order",),
                        name="issuance_once_per_order",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("user__isnull", False)),
                        fields=("user", "idempotency_key"),
                        name="issuance_once_per_key",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("serial__isnull", False)),
                        fields=("backend", "serial"),
                        name="issuance_serial_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AcmeChallenge",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "authorization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="challenges",
                        to="store.acmeauthorization",
                    ),
                ),
                ("type", models.CharField(max_length=32)),
                ("started_at", models.DateTimeField()),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("validated_at", models.DateTimeField(null=True)),
                ("problem", models.JSONField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("next_attempt_at__isnull", False)),
                        fields=["next_attempt_at"],
                        name="challenge_due",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("authorization", "type"), name="challenge_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Certificate",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="certificates",
                        to="store.request",
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.organisation",
                    ),
                ),
                (
                    "issuance",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="certificate",
                        to="store.issuance",
                    ),
                ),
                ("withheld", models.BooleanField(default=False)),
                (
                    "issuer_chain",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.issuerchain",
                    ),
                ),
                ("der", models.BinaryField()),
                ("sha256", models.CharField(max_length=64)),
                ("issuer", models.CharField(max_length=512)),
                ("serial", models.CharField(max_length=40)),
                ("spki_sha256", models.CharField(max_length=64)),
                ("not_before", models.DateTimeField()),
                ("not_after", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("revocation_reason", models.CharField(blank=True, default="", max_length=32)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["organisation", "-id"], name="certificate_newest"),
                    models.Index(fields=["serial", "organisation"], name="certificate_by_serial"),
                    models.Index(fields=["spki_sha256"], name="certificate_by_key"),
                    models.Index(fields=["not_after", "id"], name="certificate_by_end"),
                    models.Index(
                        condition=models.Q(("revoked_at__isnull", False)),
                        fields=["not_after"],
                        name="certificate_on_crl",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("issuer", "serial"), name="certificate_issuer_serial_once"
                    ),
                    models.UniqueConstraint(fields=("sha256",), name="certificate_once"),
                ],
            },
        ),
        migrations.AddField(
            model_name="AcmeOrder",
            name="replaces",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="store.certificate",
            ),
        ),
        migrations.AddField(
            model_name="AcmeOrder",
            name="certificate",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="acme_orders",
                to="store.certificate",
            ),
        ),
        migrations.CreateModel(
            name="RequestEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="events", to="store.request"
                    ),
                ),
                (
                    "issuance",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.issuance",
                    ),
                ),
                ("at", models.DateTimeField()),
                ("event", models.CharField(max_length=16)),
                ("from_status", models.CharField(blank=True, max_length=24)),
                ("to_status", models.CharField(max_length=24)),
                ("actor", models.CharField(max_length=200)),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("note", models.TextField(blank=True, default="")),
                ("notified_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="CertificateName",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "certificate",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="names",
                        to="store.certificate",
                    ),
                ),
                ("name", models.CharField(max_length=253)),
            ],
            options={
                "indexes": [models.Index(fields=["name"], name="certificate_by_name")],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="RenewalAdvice",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("issuer", models.CharField(blank=True, default="", max_length=512)),
                ("profile_id", models.CharField(blank=True, default="", max_length=64)),
                ("spki_sha256", models.CharField(blank=True, default="", max_length=64)),
                (
                    "certificate",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="store.certificate",
                    ),
                ),
                ("issued_before", models.DateTimeField()),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("explanation_url", models.CharField(blank=True, default="", max_length=500)),
                ("reason", models.CharField(max_length=500)),
                ("by", models.CharField(max_length=200)),
                ("at", models.DateTimeField()),
                ("withdrawn_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("ends_at__gt", models.F("starts_at"))),
                        name="advice_ends_after_it_starts",
                    )
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="Revocation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "certificate",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="revocations",
                        to="store.certificate",
                    ),
                ),
                ("reason", models.CharField(max_length=32)),
                ("note", models.TextField(blank=True, default="")),
                ("actor", models.CharField(max_length=200)),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        choices=[("open", "Open"), ("done", "Done"), ("refused", "Refused")],
                        default="open",
                        max_length=8,
                    ),
                ),
                ("detail", models.TextField(blank=True, default="")),
                ("requested_at", models.DateTimeField()),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("ended_at", models.DateTimeField(null=True)),
                ("notified_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("next_attempt_at__isnull", False)),
                        fields=["next_attempt_at"],
                        name="revocation_due",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("outcome", "open")),
                        fields=("certificate",),
                        name="revocation_one_open_per_certificate",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("next_attempt_at__isnull", False), ("outcome", "open")),
                            models.Q(
                                models.Q(("outcome", "open"), _negated=True),
                                ("next_attempt_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="revocation_open_is_due",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="AcmeOrder",
            constraint=models.CheckConstraint(
                condition=models.Q(("certificate__isnull", True), ("problem__isnull", True), _connector="OR"),
                name="order_ends_one_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="AcmeOrder",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("certificate__isnull", True), ("finalized_at__isnull", False), _connector="OR"
                ),
                name="order_certificate_needs_finalize",
            ),
        ),
        migrations.AddIndex(
            model_name="AcmeOrder",
            index=models.Index(
                condition=models.Q(("replaces__isnull", False)), fields=["replaces"], name="order_replacing"
            ),
        ),
        migrations.AddIndex(
            model_name="AcmeOrder",
            index=models.Index(fields=["certificate"], name="order_certified"),
        ),
    ]
