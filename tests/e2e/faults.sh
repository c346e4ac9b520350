#!/bin/bash
# What goes wrong around the program: each fault has its exit code and a message that
# names the file or key, nothing sealed is lost, and the run goes on to the same bits.
. tests/e2e/lib.sh

at_exit() { [ -z "${disk-}" ] || umount "$disk" 2>/dev/null; }

model "$work/model"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 3 "$work/model"
run_layout "$work/log" 5 run "$work/config.yaml" run.dir="$work/reference"
is_code $? 0 "the undisturbed run" "$work/log"
digests "$work/reference" >"$work/reference.bits"

go_on() { # DIR NAME
    run_layout "$work/log" 4 run "$work/config.yaml" run.dir="$1"
    is_code $? 0 "$2: the same command goes on" "$work/log"
    same_bits "$1" "$work/reference.bits" "$2"
}

# ---- a full disk
full_disk() {
    local room size
    disk=$work/disk
    mkdir "$disk"
    mount -t tmpfs -o size=64m none "$disk" 2>/dev/null || {
        disk=
        skip "a full disk" "mounting a small tmpfs is not permitted here"
        return
    }
    # Full at several places: in a rollout, a policy, a record.
    room=$(du -sk "$work/reference" | cut -f1)
    for size in $((room / 4)) $((room * 4 / 10)) $((room / 2)) $((room * 7 / 10)); do
        rm -rf "$disk/run"
        mount -o remount,size=${size}k "$disk"
        run_layout "$work/log" 2 run "$work/config.yaml" run.dir="$disk/run"
        is_code $? 5 "a disk of $size kB" "$work/log"
        says "$work/log" "$disk/run/.*No space left" "disk of $size kB: names the file"
        whole "$disk/run" && [ -n "$(ls "$disk/run/policy")" ]
        ok $? "disk of $size kB: the last policy and all else under a final name is whole"
        mount -o remount,size=64m "$disk"
        go_on "$disk/run" "disk of $size kB, enlarged"
    done
    umount "$disk" && disk=
}
full_disk

# ---- a limit on the size of files
(ulimit -f 20 && exec timeout -k 5 60 "$sluice" run "$work/config.yaml" run.dir="$work/limited") \
    >"$work/log" 2>&1
is_code $? 5 "files of at most 20 blocks" "$work/log"
says "$work/log" "$work/limited/.*File too large.*ulimit -f" "files of at most 20 blocks: named"
go_on "$work/limited" "files of at most 20 blocks, then of any size"

# ---- damaged files in the run directory
# partial DIR: a copy of the reference as it was before the last update was finished.
partial() {
    rm -rf "$1"
    cp -a "$work/reference" "$1"
    rm "$1/policy/v000003.h5"
}

# flip FILE: inverts one bit of a stored value (not of a gap between HDF5's objects), found
# by the bytes that h5dump writes for the column.
flip() {
    local column=reward
    case $1 in
    */rollout/*) column=latents ;;
    */advantage/*) column=advantage ;;
    */policy/*) column=weights ;;
    esac
    h5dump -d "/$column" -b LE -o "$work/raw" "$1" >/dev/null &&
        perl -e 'local $/; open(R, "<", $ARGV[0]); open(F, "+<", $ARGV[1]);
            $at = index(<F>, substr(<R>, 0, 12)); die "not found" if $at < 0;
            seek(F, $at, 0); read(F, $b, 1); seek(F, $at, 0); print F $b ^ "\x01"' \
            "$work/raw" "$1"
    ok $? "one bit of $column is inverted"
}

cut_short() { # FILE
    truncate -s "$(($(stat -c %s "$1") * 3 / 4))" "$1"
}

for file in rollout/i000002/s00001.h5 reward/i000002/s00000.h5 advantage/i000002.h5 \
    policy/v000002.h5; do
    for how in cut_short flip; do
        dir=$work/damaged
        partial "$dir"
        $how "$dir/$file"
        run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$dir"
        is_code $? 3 "$how $file" "$work/log"
        says "$work/log" "$dir/$file" "$how $file: the message names it"
        rm "$dir/$file"
        go_on "$dir" "$how $file, removed"
    done
done

# ---- damaged models
bad_model() { # NAME PATTERN
    run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/bad" \
        model.path="$work/other"
    is_code $? 3 "$1" "$work/log"
    says "$work/log" "$2" "$1: the message names the file"
    rm -rf "$work/bad" "$work/other"
    cp -a "$work/model" "$work/other"
}
weights=unet/diffusion_pytorch_model.safetensors
cp -a "$work/model" "$work/other"
cut_short "$work/other/$weights"
bad_model "truncated weights" "$weights"
perl -e 'open(F, "+<", $ARGV[0]); print F pack("Q<", 2 ** 60)' "$work/other/$weights"
bad_model "a header of 2^60 bytes" "$weights"
perl -e 'open(F, "+<", $ARGV[0]); seek(F, 8, 0); print F "\xff" x 64' "$work/other/$weights"
bad_model "a damaged header" "$weights"
: >"$work/other/$weights"
bad_model "empty weights" "$weights"
rm "$work/other/$weights"
bad_model "no weights" "other.*diffusion_pytorch_model"
head -c 300 /dev/urandom >"$work/other/unet/config.json"
bad_model "a garbage config.json" "unet/config.json"
sed -i 's/"block_out_channels": \[8, 16\]/"block_out_channels": [8, 1e18]/' \
    "$work/other/unet/config.json"
bad_model "an absurd network" "unet/config.json"
rm "$work/other/unet/config.json"
bad_model "no config.json" "unet"

# ---- usage and environment
run_mpi "$work/log" 2 run "$work/config.yaml"
is_code $? 2 "no run.dir" "$work/log"
says "$work/log" "run\.dir" "no run.dir: the message names the key"
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/bad" update.lrr=1
is_code $? 2 "an unknown key" "$work/log"
says "$work/log" "update\.lrr.*update\.lr" "an unknown key: the nearest is suggested"
echo "update: {batch: [1}" >"$work/broken.yaml"
run_mpi "$work/log" 1 run "$work/broken.yaml" run.dir="$work/bad"
is_code $? 2 "broken YAML" "$work/log"
says "$work/log" "broken\.yaml" "broken YAML: the message names the file"
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/bad" model.path="$work/none"
is_code $? 3 "a model folder that is not there" "$work/log"
says "$work/log" "$work/none" "it is named"
rm -rf "$work/bad"
run_mpi "$work/log" 3 run "$work/config.yaml" run.dir="$work/bad" \
    groups.rollout=3 groups.reward=2 groups.advantage=1 groups.update=2 \
    groups.placement=split
is_code $? 4 "3 ranks for groups of 8" "$work/log"
says "$work/log" "start 8 ranks" "it says how many to start"
[ ! -e "$work/bad" ]
ok $? "nothing was created"

if [ "$(id -u)" = 0 ] && ! setpriv --reuid=65534 --clear-groups true 2>/dev/null; then
    skip "a read-only directory" "root, and setpriv cannot drop the rights"
else
    mkdir "$work/readonly" "$work/home"
    chmod 555 "$work/readonly"
    chmod 755 "$work"
    chmod 777 "$work/home"
    drop=
    [ "$(id -u)" != 0 ] || drop="setpriv --reuid=65534 --clear-groups"
    HOME=$work/home TMPDIR=$work/home timeout 60 $drop "$sluice" run "$work/config.yaml" \
        run.dir="$work/readonly/run" >"$work/log" 2>&1
    is_code $? 5 "a read-only directory" "$work/log"
    says "$work/log" "$work/readonly/run.*(Permission denied|Read-only)" "it is named"
fi

# ---- a piece of work of hours
begin "$work/log" 2 run "$work/config.yaml" run.dir="$work/natural" update.batch=auto \
    update.optimizer=natural update.cg_iterations=10000 update.cg_damping=0
until_file "$work/natural/advantage/i000000.h5"
sleep 1
kill -USR1 "$job"
end_job
is_code "$code" 75 "a signal amid an endless solution" "$work/log"
whole "$work/natural" && [ ! -e "$work/natural/policy/v000001.h5" ]
ok $? "the update is left, all files are whole"

# ---- a rank that does not come
cat >"$work/late" <<'SH'
#!/bin/bash
[ "$OMPI_COMM_WORLD_RANK" != "$LATE" ] || exec sleep 1000
exec "$@"
SH
chmod +x "$work/late"
for late in 0 2; do
    LATE=$late timeout -k 5 90 "$MPIRUN" --oversubscribe -np 3 "$work/late" "$sluice" run \
        "$work/config.yaml" run.dir="$work/never" run.start_timeout=2 >"$work/log" 2>&1
    is_code $? 8 "rank $late does not come" "$work/log"
    says "$work/log" "MPI has not started within 2 s: another rank" "rank $late: the others say so"
    [ ! -e "$work/never" ]
    ok $? "rank $late: nothing was created"
done

# ---- a rank that hangs
begin_layout "$work/log" 1 run "$work/config.yaml" run.dir="$work/stall" \
    run.iterations=100000 run.stall_timeout=3
until_file "$work/stall/policy/v000001.h5"
victim=
for p in $(ranks_of "$job"); do
    grep -qz '^OMPI_COMM_WORLD_RANK=0$' "/proc/$p/environ" && victim=$p
done
kill -STOP "$victim"
end_job
kill -9 "$victim" 2>/dev/null
is_code "$code" 8 "a suspended rank" "$work/log"
says "$work/log" 'stall: rank 0 \(group rollout/0, host [^)]+\).* phase "' \
    "the message names rank, group, host and phase"
grep -q '"exit_code": *8' "$work/stall/status.json" && status_is "$work/stall" failed
ok $? "status.json says so"
whole "$work/stall"
ok $? "all files are whole"

# The coordinator's own rank: the others notice.
begin_layout "$work/log" 1 run "$work/config.yaml" run.dir="$work/stall2" \
    run.iterations=100000 run.stall_timeout=2
until_file "$work/stall2/policy/v000001.h5"
for p in $(ranks_of "$job"); do
    grep -qz '^OMPI_COMM_WORLD_RANK=2$' "/proc/$p/environ" && victim=$p
done
kill -STOP "$victim"
end_job
kill -9 "$victim" 2>/dev/null
is_code "$code" 8 "a suspended coordinator" "$work/log"
says "$work/log" 'stall: rank 2 \(group advantage/0, host [^)]+\), which coordinates.*phase "[^"]' \
    "the message names rank, group, host and phase"
finish
