# Runs Postgres for as long as our parent holds the other end of our standard input: however the parent ends, kill -9
# included, the pipe ends with it. We lead a process group of our own.
#
# $1 directory of the server binaries   $2 home of the cluster   $3 directory to make now and remove at the end, or ''
# $4 'throw-away' or ''              $5… options of postgres
bin=$1 home=$2 transient=$3 throw_away=$4
shift 4

# Only the end of the pipe stops us. Ignored signals are inherited, but initdb and postgres set their own handlers.
trap '' HUP INT TERM
exec 3<&0 </dev/null

(
    read -r _ <&3
    # Fast shutdown, again and again: a program that has just begun may miss the first signal.
    while kill -INT 0; sleep 1; kill -0 $$; do :; done
    # Reached only when somebody killed the main shell, which does this itself otherwise.
    [ -z "$transient" ] || rm -rf "$transient"
) >/dev/null 2>&1 &
exec 3<&-

[ -z "$transient" ] || mkdir -m 700 "$transient" || kill -KILL 0
if [ -n "$throw_away" ]; then
    exec >"$transient/postgres.log" 2>&1
    mkdir -m 700 "$home"
fi

if [ ! -d "$home/data" ]; then
    # glibc and macOS tell whether they have C.UTF-8; musl has no `locale`, and C.UTF-8 always.
    case $(LC_ALL=C.UTF-8 locale charmap 2>/dev/null) in
    UTF-8 | '') locale=C.UTF-8 ;;
    *) locale=C ;;
    esac
    # Beside its place and then renamed: what an interrupted initdb leaves is never taken for a cluster.
    rm -rf "$home/unfinished" &&
        "$bin/initdb" --pgdata="$home/unfinished" --username=customer_match --encoding=UTF8 --locale="$locale" \
            --auth=trust --data-checksums --no-instructions ${throw_away:+--no-sync} &&
        mv "$home/unfinished" "$home/data"
fi &&
    "$bin/postgres" -D "$home/data" "$@"

[ -z "$transient" ] || rm -rf "$transient"
# The whole group: the watcher, its sleep, and this shell.
kill -KILL 0
