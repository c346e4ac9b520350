#!/bin/sh
# A table for run.yaml that needs no measured data: all 65,536 8-mers and the temperature in
# Celsius at which each leaves its complement, by the rule of Wallace et al., Nucleic Acids
# Res. 6:3543 (1979): 2 degrees for each A or T, 4 for each G or C.
#   sh examples/dna/melting.sh >melting.csv
exec awk 'BEGIN {
    print "seq,celsius"
    for (i = 0; i < 65536; i++) {
        text = ""
        celsius = 0
        rest = i
        for (k = 0; k < 8; k++) {
            base = substr("ACGT", rest % 4 + 1, 1)
            celsius += base ~ /[CG]/ ? 4 : 2
            text = text base
            rest = int(rest / 4)
        }
        print text "," celsius
    }
}'
