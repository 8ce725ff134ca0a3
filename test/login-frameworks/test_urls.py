# The urls of the page, the site's own sign-in, and a view that begins a session.
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path
from urls import urlpatterns

def sign_in(request):
    login(request, User.objects.get(username="ada"))
    return HttpResponse("")

def mark(request):
    request.session["mark"] = 1
    return HttpResponse("")

urlpatterns = urlpatterns + [path("test/in", sign_in), path("test/mark", mark)]
