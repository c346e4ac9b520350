# A program for reward.name=exec (JSON) that writes down what it is asked:
#
#   EXEC_LOG=FILE perl exec_log.pl [WAY]
#
# FILE (no argument: the content of files that are identifies the scores) gets a line "ITERATION NUMBER SCORE" for each sample, before it is answered. Scores
# are means of numbers, lengths of texts. WAY:
#   slow   a moment for each request
#   flaky  a sample fails when its number is first asked for (by this process)
#   third  every sample whose number divides by 3 always fails
#   label  so does the first sample of label 2 of each request
#   lucky  the score is a random number: not deterministic
use strict;
use warnings;
use JSON::PP;

my ($log, $way) = ($ENV{EXEC_LOG}, @ARGV, "");
my %asked;
$| = 1;
open my $out, ">>", $log or die "exec_log.pl: $log: $!\n";
$out->autoflush(1);
print "sluice-exec 1 json log\n";
while (my $line = <STDIN>) {
    my $q = decode_json($line);
    my (@score, $text, $met);
    for my $i (0 .. $#{$q->{samples}}) {
        my ($s, $number, $sum) = ($q->{samples}[$i], $q->{numbers}[$i], 0);
        if (ref $s) { $sum += $_ for @$s; $sum /= @$s } else { $sum = length $s }
        $sum = rand if $way eq "lucky";
        $text .= sprintf "%d %d %.17g\n", $q->{iteration}, $number, $sum;
        my $fails = ($way eq "flaky" && !$asked{"$q->{iteration} $number"}++)
            || ($way eq "third" && $number % 3 == 0)
            || ($way eq "label" && $q->{labels}[$i] == 2 && !$met++);
        push @score, $fails ? undef : $sum;
    }
    syswrite $out, $text;
    select undef, undef, undef, 0.1 if $way eq "slow";
    print encode_json({id => $q->{id}, scores => \@score}), "\n";
}
