#!/bin/sh
# A pipe: rows come in, normalized rows go out, and no file lies in between.
#
#   cat trips.csv | sh pipe.sh trips.parquet > normalized.csv
#
# The first run fits the Parquet file of the argument; "-" is standard input and output. Rows are normalized as they
# come, so that memory does not grow with them. A system that writes Arrow streams, such as DuckDB with its extension
# for them, pipes in without text in between: leave the two formats out.
set -eu

trips=$1
stats=${2:-stats.json}
streamnorm=${STREAMNORM:-streamnorm}

[ -e "$stats" ] || $streamnorm fit "$trips" -o "$stats" --method robust >&2
$streamnorm transform - -o - --state "$stats" --input-format csv --output-format csv
