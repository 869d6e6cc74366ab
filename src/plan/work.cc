#include "plan/work.h"

namespace precis {

std::string_view part_name(Part part) {
  switch (part) {
    case Part::kEmbedding: return "embedding";
    case Part::kProjections: return "projections";
    case Part::kGroupedOutput: return "grouped output (wo_a)";
    case Part::kCompressors: return "compressors";
    case Part::kIndexer: return "indexer";
    case Part::kIndexScores: return "index scores";
    case Part::kAttentionWindow: return "attention, window";
    case Part::kAttentionSparse: return "attention, sparse";
    case Part::kAttentionHeavy: return "attention, heavy";
    case Part::kAttentionDense: return "attention, dense";
    case Part::kRouter: return "router";
    case Part::kExperts: return "experts";
    case Part::kDenseFfn: return "dense FFN";
    case Part::kHyper: return "hyper-connections";
    case Part::kVectors: return "norms and rotations";
    case Part::kHead: return "head";
  }
  return "unknown";
}

bool is_attention_core(Part part) {
  return part == Part::kAttentionWindow || part == Part::kAttentionSparse ||
         part == Part::kAttentionHeavy || part == Part::kAttentionDense;
}

void Work::add(Part part, const Cost& cost, double n) {
  Cost& sum = (*this)[part];
  sum.flop.fp8 += n * cost.flop.fp8;
  sum.flop.fp4 += n * cost.flop.fp4;
  sum.flop.bf16 += n * cost.flop.bf16;
  sum.flop.f32 += n * cost.flop.f32;
  sum.flop.int8 += n * cost.flop.int8;
  sum.flop.element += n * cost.flop.element;
  sum.bytes += n * cost.bytes;
}

void Work::add(const Work& other, double n) {
  for (std::size_t i = 0; i < kNParts; ++i) add(static_cast<Part>(i), other.costs_[i], n);
}

Cost Work::total() const {
  Cost sum;
  for (const Cost& cost : costs_) sum += cost;
  return sum;
}

}  // namespace precis
