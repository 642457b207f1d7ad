# The watchdog: runs Postgres until its standard input ends. That is a pipe from the server, which the kernel closes however
# the server ends, even by kill -9. The watchdog leads a process group of its own.
#
# $1 directory of the server binaries   $2 home of the cluster   $3 directory to create now and to remove at the end, or ''
# $4 'throw-away' or ''                 $5… options of postgres
bin=$1 home=$2 transient=$3 throw_away=$4
shift 4

# Only the end of the pipe stops the watchdog. Ignored signals are inherited, but initdb and postgres set their own handlers.
trap '' HUP INT TERM
exec 3<&0 </dev/null

(
    read -r _ <&3
    # Fast shutdown, repeated, as a program that has just started may miss the first signal.
    while kill -INT 0; sleep 1; kill -0 $$; do :; done
    # Reached only if the main shell was killed, which does this itself otherwise.
    [ -z "$transient" ] || rm -rf "$transient"
    # Descriptor 4 keeps the log file and so its lock, which the server waits for, until this subshell has ended as well.
) 4>&1 >/dev/null 2>&1 &
exec 3<&-

[ -z "$transient" ] || mkdir -m 700 "$transient" || kill -KILL 0
if [ -n "$throw_away" ]; then
    exec >"$transient/postgres.log" 2>&1
    mkdir -m 700 "$home"
fi

if [ ! -d "$home/data" ]; then
    # glibc and macOS report whether they have C.UTF-8; musl has no `locale` and always has C.UTF-8.
    case $(LC_ALL=C.UTF-8 locale charmap 2>/dev/null) in
    UTF-8 | '') locale=C.UTF-8 ;;
    *) locale=C ;;
    esac
    # Created under another name and then renamed, so that an interrupted initdb never leaves a half-made cluster.
    rm -rf "$home/unfinished" &&
        "$bin/initdb" --pgdata="$home/unfinished" --username=customer_match --encoding=UTF8 --locale="$locale" \
            --auth=trust --data-checksums --no-instructions ${throw_away:+--no-sync} &&
        mv "$home/unfinished" "$home/data"
fi &&
    "$bin/postgres" -D "$home/data" "$@"

[ -z "$transient" ] || rm -rf "$transient"
# Ends the process group: the subshell, its sleep, and this shell.
kill -KILL 0
