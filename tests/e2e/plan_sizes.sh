#!/bin/bash
# Memory and disk that `sluice plan` predicts against what runs took, within 15 %: peak
# resident memory of each group, sealed files, policies, the run directory. None of it
# depends on how busy the machine is.
[ ! -w /dev/shm ] || TMPDIR=/dev/shm
. tests/e2e/lib.sh

instrumented=$(ldd "$sluice" | grep -o 'lib[at]san' | head -n 1)

# Weights of 8 MB, so that vectors of their length are seen beside the program's 50 MB.
make -s "$BUILD/tests/tools/make_model"
cat >"$work/mlp.json" <<'JSON'
{"_class_name": "MLPDenoiser", "in_channels": 1, "sample_size": [1, 32], "hidden_size": 256,
 "num_layers": 4, "mlp_ratio": 2, "num_class_embeds": 3, "null_class": true}
JSON
"$BUILD/tests/tools/make_model" "$work/mlp.json" "$data/scheduler_config.json" "$work/mlp"
ok $? "a network of 2 million parameters is made" || finish
cat >"$work/config.yaml" <<YAML
run: {seed: 3, iterations: 2, keep_policies: 0}
model: {path: $work/mlp, micro_batch: 8}
sampler: {steps: 5, clip_sample: false, clamp_last: false}
rollout: {samples: 24, shard_samples: 4}
reward: {name: brightness}
update: {batch: auto, lr: 1e-5, inner_epochs: 1}
YAML
split="groups.rollout=1 groups.reward=1 groups.advantage=1 groups.update=1"
split="$split groups.placement=split"

# Lines "NAME predicted measured" in MiB, of the plan in $work/log and the run directory.
sizes() { # DIR
    perl -MJSON::PP -MFile::Find -0777 -e '
        my ($log, $dir) = @ARGV;
        my %unit = (KiB => 2**-10, MiB => 1, GiB => 2**10);
        sub text { open my $f, "<", $_[0] or die "$_[0]: $!"; scalar <$f> }
        sub disk { my $s = 0; find(sub { $s += -s if -f }, map { "$dir/$_" } @_); $s / 2**20 }
        my $plan = text($log);
        my $run = decode_json(text("$dir/accounting.json"));
        my %got = map { $_ => $run->{rss_group_bytes}{$_} / 2**20 } keys %{$run->{rss_group_bytes}};
        my %want;
        $want{$1} = $2 while $plan =~ /^  (rollout|update) +(\d+) MiB: /mg;
        ($want{reward}, $want{advantage}) = $plan =~ /^  reward, advantage +(\d+), (\d+) MiB/m;
        my ($rank) = $plan =~ /^  the largest rank +(\d+) MiB/m;
        %want = () if $plan !~ /^  split/m && $ARGV[2] eq "shared";
        printf "memory:$_ %g %g\n", $want{$_}, $got{$_} for sort keys %want;
        printf "memory:largest %g %g\n", $rank, $run->{rss_max_bytes} / 2**20;
        my %line = (shards => [qw(rollout reward advantage)], policies => ["policy"], "the run directory" => ["."]);
        for my $what (sort keys %line) {
            my ($n, $unit) = $plan =~ /^  $what +(?:.*, )??([\d.e+]+) (\wiB)(?:,| for)/m;
            ($n, $unit) = $plan =~ /^  $what .*, ([\d.e+]+) (\wiB) for/m if $what ne "the run directory";
            (my $name = $what) =~ s/.* //;
            printf "disk:$name %g %g\n", $n * $unit{$unit}, disk(@{$line{$what}});
        }' "$work/log" "$1" "$2"
}

# compare NAME RANKS split|shared OPTIONS...
compare() {
    local name=$1 ranks=$2 kind=$3 what p s lines=0
    shift 3
    run_mpi "$work/run.log" "$ranks" run "$work/config.yaml" run.dir="$work/$name" "$@"
    is_code $? 0 "run $name" "$work/run.log"
    "$sluice" plan "$work/config.yaml" --ranks "$ranks" run.dir="$work/$name" "$@" \
        >"$work/log" 2>&1
    is_code $? 0 "its plan" "$work/log"
    while read -r what p s; do
        lines=$((lines + 1))
        if [ -n "$instrumented" ] && [[ $what == memory:* ]]; then
            skip "$name $what" "a sanitizer's memory is not the program's"
            continue
        fi
        perl -e 'exit !(abs($ARGV[0] / $ARGV[1] - 1) < 0.15)' -- "$p" "$s"
        ok $? "$name $what ($p MiB, measured $s)"
    done < <(sizes "$work/$name" "$kind")
    [ $lines = $([ "$kind" = split ] && echo 8 || echo 4) ]
    ok $? "$name: all sizes were compared"
    rm -rf "${work:?}/$name"
}

compare ddpo 4 split $split update.batch=12 update.inner_epochs=2 update.ema_decay=0.9
compare ppo 6 split groups.rollout=2 groups.reward=1 groups.advantage=1 groups.update=2 \
    groups.placement=split algorithm.name=ppo sampler.guidance=2
compare nft 4 split $split algorithm.name=nft
compare draft_k 4 split $split algorithm.name=draft_k
compare dpok 3 shared max_staleness=1 algorithm.name=dpok
compare natural 2 shared update.optimizer=natural
# A network whose activations count, with filters of their own layout.
compare pictures 4 split $split model.path=examples/jpeg/model model.micro_batch=16 \
    rollout.samples=16 rollout.shard_samples=16
finish
