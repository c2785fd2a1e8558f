#!/bin/sh
# Prints the directory of PostgreSQL server binaries, version 15 or newer, and installs them first when there
# are none: by apt-get, dnf or brew, saying on stderr what it does. Nothing is started or configured; the
# service runs a server of its own from these binaries.
#
# ROLLCALL_NO_INSTALL=1 forbids the installation: then the command is printed and the exit status is 1.
#
# The places are those that src/embedded/binaries.rs searches, in the same order.
set -eu

oldest=15

say() { echo "postgres.sh: $*" >&2; }

# usable DIRECTORY: whether it holds a server that is new enough.
usable() {
    [ -x "$1/postgres" ] && [ -x "$1/initdb" ] || return 1
    version=$("$1/postgres" --version 2>/dev/null) || return 1
    major=$(printf '%s\n' "$version" | sed -n 's/^.*(PostgreSQL) \([0-9][0-9]*\).*$/\1/p')
    [ -n "$major" ] && [ "$major" -ge "$oldest" ]
}

# newest_first PARENT BEFORE AFTER: lines PARENT/BEFORE<version>AFTER, by version.
newest_first() {
    for path in "$1/$2"[0-9]*; do
        version=${path#"$1/$2"}
        [ -d "$path" ] && echo "${version%%[!0-9]*} $path$3"
    done | sort -rn | cut -d ' ' -f 2-
}

places() {
    newest_first /usr/lib/postgresql '' /bin
    newest_first /usr pgsql- /bin
    newest_first /usr/lib postgresql /bin
    newest_first /usr/libexec postgresql ''
    echo /usr/bin
    path=$(command -v postgres) && dirname "$path"
    newest_first /opt/homebrew/opt postgresql@ /bin
    newest_first /usr/local/opt postgresql@ /bin
    newest_first /home/linuxbrew/.linuxbrew/opt postgresql@ /bin
    newest_first /Applications/Postgres.app/Contents/Versions '' /bin
    echo /usr/local/bin
    echo /opt/homebrew/bin
    echo /home/linuxbrew/.linuxbrew/bin
}

find_binaries() {
    found=$(places | while IFS= read -r place; do
        if usable "$place"; then
            echo "$place"
            break
        fi
    done)
    [ -n "$found" ]
}

# Empty for root, sudo for others who have it, and otherwise the reason to give up.
become_root=
if [ "$(id -u)" -ne 0 ]; then
    become_root=$(command -v sudo) || become_root=impossible
fi

as_root() {
    ${become_root:+"$become_root"} "$@"
}

# Debian's package would create a cluster and start it with every boot. The file is only read, never changed,
# when somebody has written one.
no_default_cluster() {
    conf=/etc/postgresql-common/createcluster.conf
    if [ ! -e "$conf" ]; then
        say "writing $conf, so that the package does not start a server of its own"
        as_root mkdir -p "${conf%/*}"
        echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql >&2
}

install_with() {
    case $1 in
    apt-get)
        no_default_cluster
        # Lists that are missing or too old are the usual reason for a failure.
        if ! apt-cache show postgresql >/dev/null 2>&1 || ! apt_install; then
            say "running: apt-get update"
            as_root apt-get update >&2
            apt_install
        fi
        ;;
    dnf) as_root dnf install -y postgresql-server >&2 ;;
    brew) brew install postgresql@17 >&2 ;;
    esac
}

if find_binaries; then
    echo "$found"
    exit 0
fi

if command -v apt-get >/dev/null; then
    manager=apt-get command='apt-get install --no-install-recommends postgresql'
elif command -v dnf >/dev/null; then
    manager=dnf command='dnf install postgresql-server'
elif command -v brew >/dev/null; then
    manager=brew command='brew install postgresql@17' become_root=
else
    say "no PostgreSQL server binaries of version $oldest or newer, and neither apt-get, dnf nor brew to install"
    say "them with; install the package of the PostgreSQL server with this system's package manager"
    exit 1
fi

case $become_root in
'' | impossible) ;;
*) command="sudo $command" ;;
esac

if [ "${ROLLCALL_NO_INSTALL:-}" = 1 ]; then
    say "no PostgreSQL server binaries of version $oldest or newer, and ROLLCALL_NO_INSTALL=1 forbids to"
    say "install them; run: $command"
    exit 1
fi
if [ "$become_root" = impossible ]; then
    say "no PostgreSQL server binaries of version $oldest or newer; installing them needs root, and there is no"
    say "sudo; as root, run: $command"
    exit 1
fi

say "no PostgreSQL server binaries of version $oldest or newer; running: $command"
install_with "$manager"
if ! find_binaries; then
    say "$manager has not brought a PostgreSQL server of version $oldest or newer; this system's own packages may"
    say "be older: use the packages of the PostgreSQL project, or a newer module stream where dnf has these"
    exit 1
fi
echo "$found"
