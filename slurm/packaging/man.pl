#!/usr/bin/env perl
# man.pl PROGRAM VERSION TEMPLATE: the manual page on standard output. Commands come from
# the program's help, keys and names from `sluice config`, so that they cannot drift.
use strict;
use warnings;

my ($program, $version, $template) = @ARGV;

sub output {
    open my $in, '-|', $program, @_ or die "man.pl: $program: $!\n";
    my @lines = <$in>;
    close $in or die "man.pl: $program @_ failed\n";
    chomp @lines;
    return @lines;
}

sub roff { # text that roff leaves as it is
    my $s = shift;
    $s =~ s/\\/\\e/g;
    $s =~ s/-/\\-/g;
    $s =~ s/^([.'])/\\&$1/mg;
    return $s;
}

sub paragraphs { # a tagged paragraph for each [name, text]
    return map { ".TP\n.B " . roff($_->[0]) . "\n" . roff($_->[1]) . "\n" } @_;
}

sub commands {
    my $out = '';
    for (output('--help')) {
        my ($name, $help) = /^  ([a-z-]+) +(.+)$/ or next;
        $out .= ".SS " . roff($name) . "\n" . roff(ucfirst $help) . ".\n.PP\n.EX\n";
        $out .= roff($_) . "\n" for output($name, '--help');
        $out .= ".EE\n";
    }
    return $out;
}

# The YAML of `sluice config`: comments explain the key below them.
sub configuration {
    my ($out, $section, @said) = ('', '');
    my @names;
    for (output('config')) {
        if (/^# ([a-z.]+):$/) {
            push @names, ".SS " . roff($1) . "\n";
        } elsif (@names) {
            push @names, paragraphs([$1, $2]) if /^#   (\S+) +(.+)$/;
        } elsif (/^ *# (.+)$/) {
            push @said, $1;
        } elsif (/^(\w+):$/) {
            $section = "$1.";
            $out .= ".SS " . roff($1) . "\n";
        } elsif (/^( *)(\w+): (.*)$/) {
            my $key = ($1 eq '' ? '' : $section) . $2;
            $out .= ".SS Other keys\n" if $1 eq '' && $section ne '';
            $section = '' if $1 eq '';
            my $takes = pop @said;
            $out .= join '', paragraphs([$key, join "\n",
                "@said.", ucfirst("$takes; default $3.")]);
            @said = ();
        }
    }
    return ($out, join '', @names);
}

my ($keys, $names) = configuration();
my %part = (VERSION => $version, COMMANDS => commands(), CONFIGURATION => $keys,
    NAMES => $names);
chomp $part{$_} for keys %part;
open my $in, '<', $template or die "man.pl: $template: $!\n";
print "'\\\" t\n"; # for man: there is a table
while (<$in>) {
    s/\@([A-Z]+)\@/$part{$1}/g;
    print;
}
