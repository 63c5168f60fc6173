#!/usr/bin/env bash
# naga 30.0.1 translates the WGSL test for NaN, `x != x`, in two senses. For SPIR-V it writes OpFOrdNotEqual, an
# ordered comparison, which is false if an operand is NaN: so the test never finds a NaN on Vulkan, whatever the
# driver. For MSL, HLSL and GLSL it writes `x != x`, which these languages define as true for NaN (IEEE 754). WGSL
# lets an implementation assume that there are no NaNs, so neither is forbidden; but one text gives two results.
# A test of the bits, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u, is translated alike for all four.
#
# Needs cargo, python3 and a network. Seen on 2026-11-27 with naga-cli 30.0.1:
#   SPIR-V: OpFOrdNotEqual 1, OpFUnordNotEqual 0
#   metal:  x != x
#   hlsl:   x != x
#   comp:   x != x
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cargo install --quiet --locked --version 30.0.1 --root "$work" naga-cli

cat >test.wgsl <<'WGSL'
@group(0) @binding(0) var<storage, read> numbers: array<f32>;
@group(0) @binding(1) var<storage, read_write> found: array<u32>;

@compute @workgroup_size(1)
fn main() {
    let x = numbers[0];
    found[0] = u32(x != x);
}
WGSL

for to in spv metal hlsl comp; do
    "$work/bin/naga" --entry-point main --profile es310 test.wgsl "test.$to" >/dev/null
done

# The opcode is the low half of an instruction's first word, its length the high half: 182 is OpFOrdNotEqual, 183
# OpFUnordNotEqual.
read -r ordered unordered < <(python3 - <<'PYTHON'
import struct

data = open("test.spv", "rb").read()
words = struct.unpack(f"<{len(data) // 4}I", data)
at, seen = 5, []
while at < len(words):
    seen.append(words[at] & 0xFFFF)
    at += words[at] >> 16
print(seen.count(182), seen.count(183))
PYTHON
)
echo "SPIR-V: OpFOrdNotEqual $ordered, OpFUnordNotEqual $unordered"
status=0
[ "$ordered $unordered" = "1 0" ] || status=1
for to in metal hlsl comp; do
    comparison=$(grep -oE '\b(\w+) != \1\b' "test.$to" | head -1 | sed -E 's/\w+ != \w+/x != x/')
    echo "$to: ${comparison:-none}"
    [ "$comparison" = "x != x" ] || status=1
done
[ $status = 0 ] && echo "as described" || echo "CHANGED: read the head of this script" >&2
exit $status
