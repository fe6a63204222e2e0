# Shared by the scripts of lab/: messages, progress, where things lie, and how a command is run as the DC sees the world.
# Sourced, not run; the caller sets HERE (the lab directory) and ME (its own name), and has `set -euo pipefail`.
#
# Where things lie
#   $KEYBACK_LAB_CACHE   default /var/cache/keyback-lab: the Samba 4.24 root, templates, snapshots, lock files
#   $KEYBACK_LAB_DIR     default /var/lib/keyback-lab: one directory per domain controller (dc-424, dc-host, ...)
#   $KEYBACK_LAB_MIRROR  the Debian mirror to build the root from; default: the one apt uses here
#
# Every DC runs in a mount namespace of its own. All mounts (its hosts file, and for 4.24 /proc, /dev and its directory inside
# the root) exist only there and vanish with its last process: nothing to unmount, and no lab can disturb another one's mounts.
# A tmpfs named "keyback-lab:<dir>" in that namespace marks the processes that belong to the DC in <dir>.

CACHE=${KEYBACK_LAB_CACHE:-/var/cache/keyback-lab}
BASEDIR=${KEYBACK_LAB_DIR:-/var/lib/keyback-lab}
ROOT=$CACHE/samba-root
export LC_ALL=C.UTF-8

say() { echo "$ME: $*" >&2; }
fail() { local code=$1; shift; say "$*"; exit "$code"; }
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$1"; }   # the comment at the top of the script is its manual

need_root() { [ "$(id -u)" = 0 ] || fail 2 "must run as root: it mounts, binds port 88 and 389, and installs nothing outside $CACHE and $BASEDIR (try: sudo $0)"; }
has_package() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

packages_for() { # 424 | host | all
  local always="ldap-utils krb5-user openssl util-linux" root="debootstrap debian-archive-keyring"
  local host="samba samba-ad-dc samba-ad-provision winbind ldb-tools python3-samba libsasl2-modules-gssapi-mit"
  case $1 in 424) echo "$always $root";; host) echo "$always $host";; *) echo "$always $root $host libfaketime";; esac   # libfaketime: lab/break dc.clock_skew
}

need_packages() { # need_packages 424|host: says in one sentence what is missing, and how to get it
  local p missing=""
  for p in $(packages_for "$1"); do has_package "$p" || missing="$missing $p"; done
  [ -z "$missing" ] || fail 2 "missing Debian packages:$missing. Install them: apt-get install --no-install-recommends$missing   (or: $HERE/packages $1 --install)"
  unshare -m true 2>/dev/null || fail 2 "this machine does not let root create a mount namespace (a container without CAP_SYS_ADMIN?); the lab cannot run here"
}

# --- progress: numbered steps with the time they take; a line that rewrites itself on a terminal, a line every few seconds elsewhere
steps() { STEP=0 STEPS=$1; }
step() { # step "what" LOGFILE FILTER COMMAND...: the command's output goes to the log and, through FILTER, into the progress line
  local what=$1 log=$2 filter=$3 t0 rc=0 line now last=0 note="" eof; shift 3; STEP=$((STEP + 1)) t0=$(date +%s)
  say "[$STEP/$STEPS] $what"
  exec {pipe}< <("$@" </dev/null 2>&1; echo "::rc $?")
  while :; do
    eof=0; line=; IFS= read -r -t 2 line <&$pipe || eof=$?
    [ $eof != 1 ] || break
    case $line in "::rc "*) rc=${line#::rc }; break;; "") ;; *) echo "$line" >>"$log"; note=$("$filter" line "$line" "$note");; esac
    now=$(date +%s)
    if [ -t 2 ]; then [ "$now" = "$last" ] || printf '\r\033[K%s: [%s/%s] %3ds  %.90s' "$ME" "$STEP" "$STEPS" $((now - t0)) "$note" >&2; last=$now
    elif [ $((now - last)) -ge 5 ] && [ $((now - t0)) -ge 3 ]; then say "[$STEP/$STEPS] $((now - t0)) s  $note"; last=$now; fi
  done
  exec {pipe}<&-; [ ! -t 2 ] || printf '\r\033[K' >&2
  [ "$rc" = 0 ] || { tail -n 8 "$log" >&2; fail 1 "failed: $what (the whole log: $log)"; }
  say "[$STEP/$STEPS] done in $(($(date +%s) - t0)) s"
}
plain_progress() { echo "$2"; }
debootstrap_progress() { case $2 in I:*) echo "${2#I: }";; *) echo "$3";; esac; }
apt_with_status() { apt-get -o APT::Status-Fd=1 -o Dpkg::Use-Pty=0 "$@"; }   # adds machine-readable lines, which apt_progress reads
apt_progress() {
  case $2 in
    dlstatus:*|pmstatus:*) local IFS=:; set -- $2; printf '%3.0f %%  %s' "$3" "${*:4}";;
    Get:*|Hit:*) set -f; set -- $2; printf 'reading %s' "${*:3}";;
    *) echo "$3";;
  esac
}

# --- one DC's directory and its processes
dir_for() { case $1 in 4.24) echo "$BASEDIR/dc-424";; host) echo "$BASEDIR/dc-host";; esac; }
check_dir() { case $1 in *[!A-Za-z0-9/._+-]*) fail 2 "the directory may hold only letters, digits and ._+-/ : $1";; /*) ;; *) fail 2 "give an absolute directory: $1";; esac
  case $(readlink -m "$1") in /|/bin|/boot|/dev|/etc|/home|/lib*|/mnt|/opt|/proc|/root|/run|/sbin|/srv|/sys|/tmp|/usr|/var|/var/lib|/var/cache) fail 2 "not a directory of its own: $1";; esac; }
lock_for() { mkdir -p "$CACHE/locks"; echo "$CACHE/locks/$(tr / _ <<<"$1")"; }
members() { # the processes of the DC in directory $1
  local f; for f in $(grep -lsF "keyback-lab:$1 " /proc/[0-9]*/mountinfo); do f=${f#/proc/}; echo "${f%/mountinfo}"; done; }
alive() { # is the DC in directory $1 up?
  local pid; [ -s "$1/run/samba.pid" ] && pid=$(cat "$1/run/samba.pid") && grep -qsF "keyback-lab:$1 " "/proc/$pid/mountinfo"; }
load_env() { # the lab.env of directory $1, or the sentence that there is no DC
  [ -s "$1/lab.env" ] || fail 2 "no domain controller in $1: start one with $HERE/up"; . "$1/lab.env"; }

# inside COMMAND...: run it as the DC sees the world. Needs SAMBA, DIR and HOSTS. In there the DC's directory is $IN, the lab is $LABIN.
in_paths() { if [ "$SAMBA" = host ]; then IN=$DIR LABIN=$HERE; else IN=/dc LABIN=/lab; fi; }
inside() {
  local env=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "KRB5_CONFIG=$IN/krb5.conf")
  mkdir -p "$DIR/mark"
  if [ "$SAMBA" = host ]; then
    unshare -m sh -c 'mount -t tmpfs -o size=4k "keyback-lab:$0" "$0/mark" && mount --bind "$1" /etc/hosts && shift && exec env -i "$@"' "$DIR" "$HOSTS" "${env[@]}" "$@"
  else
    unshare -m sh -c 'r=$0 d=$1 h=$2 l=$3; shift 3
      mount --bind "$d" "$r/dc" && mount --bind "$l" "$r/lab" && mount -o remount,bind,ro "$r/lab" && mount -t proc proc "$r/proc" && mount --rbind /dev "$r/dev" &&
      mount -t tmpfs "keyback-lab:$d" "$r/tmp" && mount -t tmpfs run "$r/run" && mount --bind "$h" "$r/etc/hosts" && exec chroot "$r" env -i "$@"' \
      "$ROOT" "$DIR" "$HOSTS" "$HERE" "${env[@]}" "$@"
  fi
}
