#!/usr/bin/env bash
# Proves that the specification, the code and the tests know the same rules. `spec_rules.sh [ROOT]`
#
# A rule is defined by a line of src/format/SPEC.md that starts with its id in bold (`**H-LEN**`,
# a list marker before it or not), and cited as `SPEC H-LEN`, also in a list: `SPEC H-LEN, H-COUNT`.
# Every rule must be cited by code and by a test; every citation must be of a rule, and every
# `SPEC 4.2` of a heading.
set -euo pipefail
root=$(cd "${1:-$(dirname "$0")/..}" && pwd)
cd "$root"

SPEC=src/format/SPEC.md

# Rules that no line of code can carry out, each with its reason.
NO_CODE='
'

[ -f "$SPEC" ] || { echo "spec rules: $root/$SPEC is missing" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

# Prints what a list of ids holds under a message, and counts it as a failure.
report() {
    [ -n "$2" ] || return 0
    failures=$((failures + 1))
    printf 'spec rules: %s\n' "$1" >&2
    sed 's/^/    /' <<<"$2" >&2
}

# cited PATTERN ID: `id file` for every ID in every PATTERN in the files named on standard input. Each file is one
# line, so that a list of ids may wrap within a comment.
cited() {
    perl -e '
        my ($pattern, $id) = @ARGV;
        while (my $file = <STDIN>) {
            chomp $file;
            open my $in, "<", $file or die "$file: $!\n";
            my $text = join " ", map { s/\n$//r } <$in>;
            $text =~ s{\s+(?://[/!]?|#)\s+}{ }g;
            my %ids;
            while ($text =~ /($pattern)/g) { $ids{$_} = 1 for $1 =~ /$id/g }
            print "$_ $file\n" for sort keys %ids;
        }' "$1" "$2"
}
citations() { cited '\bSPEC [A-Z]-[A-Z]+(?:(?:,| and| or|, and)? [A-Z]-[A-Z]+)*' '[A-Z]-[A-Z]+'; }
sections() { cited '\bSPEC [0-9]+(?:\.[0-9]+)*' '[0-9]+(?:\.[0-9]+)*'; }

# Files that are compiled for tests only: declared by `#[cfg(test)] mod name;`.
test_files() {
    find tests ci -type f \( -name '*.rs' -o -name '*.py' -o -name '*.sh' \) 2>/dev/null || true
    { grep -rn -A1 --include='*.rs' -E '^\s*#\[cfg\(test\)\]' src || true; } |
        sed -nE 's#^(src/.*)-[0-9]+-\s*(pub )?mod ([a-z_0-9]+);.*#\1 \3#p' |
        while read -r parent name; do
            folder=$(dirname "$parent")
            case $(basename "$parent") in
                mod.rs | lib.rs) ;;
                *) folder=${parent%.rs} ;;
            esac
            find "$folder/$name" "$folder/$name.rs" -name '*.rs' 2>/dev/null || true
        done
}

test_files | sort -u >"$scratch/test_files"
find src -name '*.rs' | sort | grep -vxFf "$scratch/test_files" >"$scratch/code_files" || true
sed -nE 's/^([-*|] *)?\*\*([A-Z]-[A-Z]+)\*\*.*/\2/p' "$SPEC" >"$scratch/defined_all"
sort -u "$scratch/defined_all" >"$scratch/defined"
citations <"$scratch/test_files" >"$scratch/test_citations"
citations <"$scratch/code_files" >"$scratch/code_citations"
find fuzz/src fuzz/fuzz_targets examples benches README.md SECURITY.md -type f \
    \( -name '*.rs' -o -name '*.md' \) 2>/dev/null >"$scratch/other_files" || true
citations <"$scratch/other_files" >"$scratch/other_citations"
cut -d' ' -f1 "$scratch/test_citations" | sort -u >"$scratch/tested"
cut -d' ' -f1 "$scratch/code_citations" | sort -u >"$scratch/coded"
{ grep -oE '^[A-Z]-[A-Z]+' <<<"$NO_CODE" || true; } | sort -u >"$scratch/no_code"

[ -s "$scratch/defined" ] || report 'no rule is defined' "$SPEC"
report 'a rule is defined twice' "$(sort "$scratch/defined_all" | uniq -d)"
report 'no test cites the rule' "$(comm -23 "$scratch/defined" "$scratch/tested")"
report 'no code cites the rule, and it is not excused' \
    "$(comm -23 "$scratch/defined" "$scratch/coded" | comm -23 - "$scratch/no_code")"
report 'excused from code, and cited there or not defined' \
    "$(comm -12 "$scratch/no_code" "$scratch/coded"; comm -23 "$scratch/no_code" "$scratch/defined")"
report 'cited and not defined' "$(
    sort -u "$scratch"/{test,code,other}_citations | grep -vwFf "$scratch/defined" || true
)"

# Sections.
sed -nE 's/^#+ ([0-9]+(\.[0-9]+)*)\.?( .*)?$/\1/p' "$SPEC" | sort -u >"$scratch/headings"
cat "$scratch"/{test,code,other}_files | sections |
    awk 'NR == FNR { known[$1]; next } !($1 in known)' "$scratch/headings" - >"$scratch/no_heading"
report 'a section is cited that the specification does not have' "$(cat "$scratch/no_heading")"

# The rules of the key file, cited as `FORMAT F-LINE`.
FORMAT=src/keyring/file/format/FORMAT.md
sed -nE 's/^([-*] )?\*\*(F-[A-Z]+)\*\*.*/\2/p' "$FORMAT" | sort -u >"$scratch/format_rules"
[ -s "$scratch/format_rules" ] || { echo "spec rules: no rules in $FORMAT" >&2; exit 1; }
for where in src 'tests ci'; do
    # shellcheck disable=SC2086 # folders, to be split
    { grep -rhoE --include='*.rs' --include='*.py' '\bF-[A-Z]+\b' $where || true; } | sort -u >"$scratch/cited"
    report "rules of the key file that nothing in $where cites" \
        "$(comm -23 "$scratch/format_rules" "$scratch/cited")"
    report "cited in $where, and not a rule of the key file" \
        "$(comm -13 "$scratch/format_rules" "$scratch/cited")"
done

# The table of threats and tests names files that are there.
if [ -f tests/README.md ]; then
    { grep -oE '`[A-Za-z0-9_./]+(\.rs|\.sh|/)`' tests/README.md || true; } | tr -d '\`' | sort -u |
        while read -r path; do
            [ -e "$path" ] || [ -e "tests/$path" ] || echo "$path"
        done >"$scratch/no_file"
    report 'tests/README.md names a file that is not there' "$(cat "$scratch/no_file")"
    # A name of four words and more is the name of a test.
    grep -rhoE --include='*.rs' '\bfn [a-z0-9_]+\b' tests src crates | cut -d ' ' -f 2 | sort -u >"$scratch/functions"
    { grep -oE '`[a-z0-9]+(_[a-z0-9]+){3,}`' tests/README.md || true; } | tr -d '\`' | sort -u |
        comm -23 - "$scratch/functions" >"$scratch/no_test"
    report 'tests/README.md names a test that is not there' "$(cat "$scratch/no_test")"
fi

rules=$(wc -l <"$scratch/defined")
if [ "$failures" -ne 0 ]; then
    echo "spec rules: $rules rules, $failures kinds of fault" >&2
    exit 1
fi
echo "spec rules: $(wc -l <"$scratch/format_rules") rules of the key file, each cited by code and a test"
echo "spec rules: $rules rules, each cited by code ($(wc -l <"$scratch/code_citations") places)" \
    "and by a test ($(wc -l <"$scratch/test_citations") places)"
