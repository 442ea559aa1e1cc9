# What any program does in a storm: as ``work`` of program.py, with no Python in it.
note() {
    printf '%-127s\n' "$1 $tag ${MCLI_JOB_ID:-here} ${MCLI_ATTEMPT:-0} $$ $(date +%s.%N) $2" >> "$LEDGER"
}
tag=$1 lines=$2 pause=$3 number=0
note S 0
while [ "$number" -lt "$lines" ]; do
    printf '%s %06d\n' "$tag" "$number"
    [ $((number % 100)) -ne 0 ] && [ "$number" -ne $((lines / 2)) ] || note P $((number + 1))
    [ "$number" -ne $((lines / 2)) ] || sleep "$pause"
    number=$((number + 1))
done
note E "$lines"
