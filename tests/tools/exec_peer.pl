# A program for reward.name=exec (JSON) that does what it should, or in some way not:
#
#   perl exec_peer.pl WAY [WHEN [FILE]]
#
# WHEN: at which request of this process it goes wrong (default 1); 0: before its first
# line. With FILE: only where that does not exist, and then it is made. Its scores are the
# means of the samples (the lengths of strings).
use strict;
use warnings;
use Fcntl;
use JSON::PP;

my ($way, $when, $file) = @ARGV;
$when = 1 unless defined $when;
$| = 1;
my $count = 0;

# Goes wrong, if it is time; true when the request is answered with that.
sub odd {
    my ($id, @score) = @_;
    return 0 if $way eq "good" || $way eq "noisy" || $count != $when;
    if (defined $file) {
        # Made by one alone, also where two begin together.
        sysopen my $made, $file, O_WRONLY | O_CREAT | O_EXCL or return 0;
    }
    my $list = join ",", @score;
    my %said = (
        garbage => "}{ what?\n",
        half => "{\"id\":$id,\"scores\":[$list",
        count => "{\"id\":$id,\"scores\":[$list,1]}\n",
        other => "{\"id\":" . ($id + 1) . ",\"scores\":[$list]}\n",
        twice => "{\"id\":$id,\"scores\":[$list]}\n" x 2,
        nan => "{\"id\":$id,\"scores\":[" . join(",", ("NaN") x @score) . "]}\n",
        word => "{\"id\":$id,\"scores\":[" . join(",", ("\"1\"") x @score) . "]}\n",
        null => "{\"id\":$id,\"scores\":[" . join(",", ("null") x @score) . "]}\n",
        status => "{\"id\":$id,\"scores\":[$list],\"status\":[" .
            join(",", ("\"infeasible\"") x @score) . "]}\n",
    );
    if (exists $said{$way}) {
        syswrite STDOUT, $said{$way};
        exit 0 if $way eq "half";
    }
    elsif ($way eq "flood") { 1 while syswrite STDOUT, "x" x 65536 }
    elsif ($way eq "hang") { sleep 1000 while 1 }
    elsif ($way eq "stubborn") { $SIG{TERM} = $SIG{INT} = "IGNORE"; fork; sleep 1000 while 1 }
    elsif ($way eq "close") { close STDOUT; sleep 1000 }
    elsif ($way eq "exit") { exit 0 }
    elsif ($way eq "die") { die "no licence left\n" }
    elsif ($way eq "kill") { kill 9, $$ }
    elsif ($way eq "slow") { select undef, undef, undef, 0.3; return 0 }
    else { die "exec_peer.pl: unknown way '$way'\n" }
    return 1;
}

odd(0);
print "sluice-exec 1 json peer\n";
while (my $line = <STDIN>) {
    my $q = decode_json($line);
    $count++;
    my @score = map {
        my $s = $_;
        my $sum = 0;
        if (ref $s) { $sum += $_ for @$s; $sum / @$s } else { length $s }
    } @{$q->{samples}};
    if ($way eq "noisy") {
        print STDERR "line $_ of request $count \x1b[31m\n", "." x 3000 for 1 .. 400;
    }
    next if odd($q->{id}, @score);
    print encode_json({id => $q->{id}, scores => \@score}), "\n";
}
