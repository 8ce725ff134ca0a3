#!/usr/bin/env bash
# Installs what deploy/ is tried with, on Debian 12 and as root: the proxies, and Prometheus for the dashboard and the
# alerts. Without them `npm test` leaves those tests out, and says so.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

apt=(apt-get -qq -o DPkg::Lock::Timeout=600)
missing=()
for package in nginx-light haproxy caddy prometheus openssl; do
  # any nginx will do
  command -v "${package%-light}" >/dev/null || [ -x "/usr/sbin/${package%-light}" ] || missing+=("$package")
done
((${#missing[@]})) || exit 0

# Debian starts a server when it is installed; the tests start their own, on ports of their own
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
echo "proxies and Prometheus: installing ${missing[*]}"
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
