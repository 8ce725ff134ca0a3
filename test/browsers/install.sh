#!/usr/bin/env bash
# Installs every engine of the browser matrix on Debian 12, as root. `npm test` itself needs Chromium alone.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

packages=(
  chromium firefox-esr
  chromium-headless-shell             # for tests of pages, not of browsers: a start costs a fifth
  webkit2gtk-driver                   # WebKitGTK: Safari's family, driven by WebDriver
  python3-pyqt5.qtwebkit              # QtWebKit 602: about 2016
  libkf5khtml-dev kio dbus-x11        # KHTML: ES5 without onerror; its window is compiled here
  g++ cmake extra-cmake-modules qtbase5-dev
  netsurf-gtk                         # Duktape: ES5 without onload and onerror
  wine wine64                         # JScript 5.8: true ES3, without a DOM
  xvfb xauth
)
apt=(apt-get -qq -o DPkg::Lock::Timeout=600)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "browser matrix: installing ${missing[*]}"
  "${apt[@]}" update
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
fi
