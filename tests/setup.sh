# Shared by ./test, ./demo and ./bench: what they need, installing it, starting it, and ending what they started. Sourced.

SECONDS=0
RUNNING=()      # what to end, newest last
FOLDERS=()      # what to delete afterwards
say() { printf '%s\n' "$*" >&2; }
step() { printf '\n== %s  (%d s)\n' "$1" "$SECONDS" >&2; }
stop() { say "${0##*/}: $1"; say "  fix: $2"; exit 2; }

# Packages by purpose: `lab` is what lab/packages says; `browser` is Chromium and Node.js.
need_packages() {
  local missing=() package list=()
  [[ " $* " != *" lab "* ]] || list+=($(lab/packages)) 
  [[ " $* " != *" host-free-lab "* ]] || list+=($(lab/packages 424))
  [[ " $* " != *" browser "* ]] || list+=(chromium fonts-dejavu-core)
  [[ " $* " != *" browser "* ]] || command -v node >/dev/null || list+=(nodejs npm)
  command -v cc >/dev/null || list+=(gcc libc6-dev)
  command -v curl >/dev/null || list+=(curl)
  for package in "${list[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || { say "all there"; return; }
  [ "$(id -u)" = 0 ] || stop "these packages are missing and only root can install them: ${missing[*]}" "run it as root, or: apt-get install ${missing[*]}"
  [[ " $* " != *" lab "* ]] || lab/packages --install
  [[ " $* " != *" host-free-lab "* ]] || lab/packages 424 --install
  local rest=()
  for package in "${missing[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || rest+=("$package")
  done
  [ ${#rest[@]} -gt 0 ] || return 0
  say "installing: ${rest[*]}"
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${rest[@]}" >&2
}

# COMMAND:PACKAGE...: installs the packages whose commands are missing.
need_commands() {
  local pair missing=()
  for pair in "$@"; do command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}"); done
  [ ${#missing[@]} -gt 0 ] || { say "all there"; return; }
  [ "$(id -u)" = 0 ] || stop "these packages are missing and only root can install them: ${missing[*]}" "run it as root, or: apt-get install ${missing[*]}"
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}

need_cargo() {
  [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH
  command -v cargo >/dev/null || stop "there is no Rust here" "install Rust 1.95 or later, then run this again"
}

need_cargo_tool() { # NAME VERSION
  cargo "${1#cargo-}" --version >/dev/null 2>&1 && return
  say "installing $1 $2 (some minutes, once)"
  cargo install --quiet --locked --version "$2" "$1"
}

# A domain controller of each version, for the tests that share them.
lab_up_both() {
  local version name
  for version in 4.24:424 host:HOST; do
    name=${version#*:}
    local out; out=$(lab/up --samba "${version%:*}")
    local dir; dir=$(sed -n "s/^export AD_DIR='\(.*\)'/\1/p" <<<"$out")
    RUNNING+=("lab:$dir")
    export "KEYBACK_LAB_$name=$dir/lab.env"
  done
}

# What was started last ends first. Only what this script started.
end_what_runs() {
  local i
  for ((i = ${#RUNNING[@]} - 1; i >= 0; i--)); do
    case ${RUNNING[i]} in
      lab:*) lab/down --dir "${RUNNING[i]#lab:}" || true ;;
      *) kill "${RUNNING[i]}" 2>/dev/null && wait "${RUNNING[i]}" 2>/dev/null || true ;;
    esac
  done
  [ ${#FOLDERS[@]} -eq 0 ] || rm -rf "${FOLDERS[@]}"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo $((20000 + RANDOM)); }

wait_for() { # SECONDS WHAT COMMAND...
  local limit=$1 what=$2 i; shift 2
  for ((i = 0; i < limit * 10; i++)); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  stop "$what did not come up within $limit s" "read the lines above, and the logs in ${WORK:-its folder}"
}

# keyback and a mail sink against the DC in $1 (its lab.env), in a folder of their own; sets WORK URL MAIL_URL. Appends LIMITS to its configuration.
start_keyback() {
  local bin=target/${2:-debug}
  . "$1"
  WORK=$(mktemp -d /tmp/keyback.XXXXXX); FOLDERS+=("$WORK")
  local smtp http port; smtp=$(free_port); http=$(free_port); port=$(free_port)
  MAIL_URL=http://127.0.0.1:$http URL=http://127.0.0.1:$port
  "$bin/mail-sink" --smtp "127.0.0.1:$smtp" --http "127.0.0.1:$http" >"$WORK/mail-sink.log" 2>&1 &
  RUNNING+=($!)
  (umask 077; printf '%s\n' "$AD_CONNECTOR_PW" >"$WORK/connector.password.given")
  wait_for 10 "the mail sink" curl -sf "$MAIL_URL/"
  "$bin/keyback" init --config "$WORK/keyback.toml" --yes \
    --organisation "${ORGANISATION:-Example Ltd}" --listen "127.0.0.1:$port" --public-url "$URL" \
    --dc "ldaps://$AD_FQDN" --dc-address "$AD_IP" --ca "$AD_CA" \
    --connector "$AD_CONNECTOR_UPN" --connector-password-file "$WORK/connector.password.given" \
    --scope "OU=Staff,$AD_BASE_DN" --mail-gateway "smtp://127.0.0.1:$smtp" --mail-from "Help desk <help@example.org>" >&2
  # More writes in an hour than an agent is allowed by default.
  if [ -n "${AN_HOUR:-}" ]; then
    sed -i "s/^\[agent.mail\]/[agent.caps]\nagent_hour = $AN_HOUR\nou_hour = $AN_HOUR\n\n&/" "$WORK/keyback.toml"
  fi
  # Words that count next to nothing in a password.
  if [ -n "${BLOCKLIST:-}" ]; then
    printf '%s\n' "$BLOCKLIST" >"$WORK/blocklist.txt"
    sed -i 's/^\[agent.mail\]/[agent.passwords]\nblocklist_file = "blocklist.txt"\n\n&/' "$WORK/keyback.toml"
  fi
  [ -z "${LIMITS:-}" ] || printf '\n%s\n' "$LIMITS" >>"$WORK/keyback.toml"
  "$bin/keyback" serve --config "$WORK/keyback.toml" >"$WORK/keyback.log" 2>&1 &
  RUNNING+=($!)
  wait_for 20 "keyback" curl -sf "$URL/readyz"
}

# The reset in Debian's Chromium, keyboard alone, and once more without JavaScript.
browser_test() {
  (cd tests/browser && npm ci --silent --no-audit --no-fund)
  BLOCKLIST=$'marmot\ncontoso' start_keyback "${KEYBACK_LAB_424:?}"
  export KEYBACK_URL=$URL KEYBACK_MAIL_URL=$MAIL_URL KEYBACK_ARTIFACTS=$PWD/artifacts/screenshots
  export KEYBACK_USER=${KEYBACK_USER:-carol} KEYBACK_USER_MAIL=${KEYBACK_USER_MAIL:-carol@ad.example}
  export KEYBACK_NEW_PASSWORD="Browser-$RANDOM-Pass-$RANDOM!"
  mkdir -p "$KEYBACK_ARTIFACTS"
  node --test --test-timeout=180000 tests/browser/
}

# Every fuzz target for about so many seconds, on the stable compiler. From the samples alone, by one seed and so many runs a
# target: what is tried is the same every time.
fuzz_all() { # SECONDS
  local target sample seed runs corpus=corpus/ci
  rm -rf "fuzz/${corpus:?}"; mkdir -p "fuzz/$corpus"/{scan,explain,descriptor,sddl}
  for sample in crates/codes/tests/samples/*; do
    { printf '\1'; head -c 20000 "$sample"; } >"fuzz/$corpus/scan/${sample##*/}"
    head -c 2000 "$sample" >"fuzz/$corpus/explain/${sample##*/}"
  done
  printf 'O:BAG:BAD:PAI(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;bf967aba-0de6-11d0-a285-00aa003049e2;S-1-5-21-1-2-3-1104)' >"fuzz/$corpus/sddl/one"
  for target in scan:14645:500 explain:52:500 descriptor:33004:2000 sddl:120008:2000; do
    IFS=: read -r target seed runs <<<"$target"
    seed=${KEYBACK_FUZZ_SEED:-$seed}; say "$target, seed $seed"
    (cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run -s none "$target" "$corpus/$target" -- -runs=$((runs * $1)) -max_total_time=$((8 * $1)) -reload=0 -seed="$seed" -max_len=40000 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 2>&1 |
      { grep -E "^(stat::number_of_executed_units|SUMMARY|thread .* panicked|.*panicked at|artifact_prefix|error)" || true; }; exit "${PIPESTATUS[0]}")
  done
}
