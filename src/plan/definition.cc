#include "plan/definition.h"

#include <array>

namespace precis {

const FlopDefinition& used_definition() {
  static const FlopDefinition definition{.name = "FP8 1, BF16 and F32 2, FP4 index 0.5"};
  return definition;
}

std::span<const FlopDefinition> other_definitions() {
  static const std::array<FlopDefinition, 4> definitions{{
      {.name = "every FLOP counts 1", .bf16 = 1, .attention = 1, .index = 1},
      {.name = "attention core in FP8", .attention = 1},
      {.name = "index scores in FP8", .index = 1},
      {.name = "wo_a in BF16, as it is multiplied", .wo_a = 2},
  }};
  return definitions;
}

double equivalent_flop(Part part, const FlopCount& flop, const FlopDefinition& definition) {
  if (is_attention_core(part)) return definition.attention * flop.bf16;
  if (part == Part::kGroupedOutput) return definition.wo_a * (flop.fp8 + flop.fp4 + flop.bf16);
  return definition.fp8 * flop.fp8 + definition.fp4 * flop.fp4 +
         definition.bf16 * (flop.bf16 + flop.f32) + definition.index * flop.int8;
}

double equivalent_flop(const Work& work, const FlopDefinition& definition) {
  double sum = 0;
  for (std::size_t i = 0; i < kNParts; ++i) {
    const auto part = static_cast<Part>(i);
    sum += equivalent_flop(part, work[part].flop, definition);
  }
  return sum;
}

}  // namespace precis
