# A Django project around the views of the page.
import os, django
from django.conf import settings
settings.configure(
    SECRET_KEY="s", DEBUG=True, ROOT_URLCONF="test_urls", ALLOWED_HOSTS=["*"], DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    TAGWAIT=os.environ["TAGWAIT"], TAGWAIT_TOKEN=os.environ["TOKEN"], TAGWAIT_SERVICE=os.environ["SERVICE"],
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
User.objects.create_user("ada")
call_command("runserver", "127.0.0.1:" + os.environ["PORT"], use_reloader=False)
