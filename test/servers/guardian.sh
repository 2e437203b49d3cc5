#!/bin/sh
# Owns the folder of one test server. Its standard input is a pipe from the process that started the server, so the end
# of the input means "stop now" as well as "the starter is dead", also when that was kill -9. Then it stops every
# process it was told of, last one first, and removes the folder.
#
#   watch PID SIGNAL      a process to stop, and the signal it stops on
#   forget PID            it is gone
#   compose NAME FILE     a compose project to take down
trap '' INT TERM HUP
directory=$1
patience=${2:-10}
watched=""
project=""
file=""

while read -r verb one two; do
  case $verb in
    watch) watched="$one:$two $watched" ;;
    forget)
      rest=""
      for entry in $watched; do
        [ "${entry%%:*}" = "$one" ] || rest="$rest$entry "
      done
      watched=$rest
      ;;
    compose) project=$one file=$two ;;
  esac
done

# A process that ended is still there as long as nobody has collected it, and may have nobody to do so.
alive() {
  kill -0 "$1" 2>/dev/null && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null
}

for entry in $watched; do
  pid=${entry%%:*}
  kill -s "${entry#*:}" "$pid" 2>/dev/null || continue
  kill -s CONT "$pid" 2>/dev/null
  waits=$((patience * 20))
  while [ "$waits" -gt 0 ] && alive "$pid"; do
    sleep 0.05
    waits=$((waits - 1))
  done
  kill -s KILL -- "-$pid" 2>/dev/null
  kill -s KILL "$pid" 2>/dev/null
done

if [ -n "$project" ]; then
  docker compose --project-name "$project" --file "$file" down --volumes --timeout 5 >/dev/null 2>&1
fi
rm -rf "$directory"
