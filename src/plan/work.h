// Work sorted by part of the network: the form in which every model's cost reaches the planner.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ops/cost.h"

namespace precis {

/// What a plan tells apart.
enum class Part : std::uint8_t {
  kEmbedding,
  kProjections,    // q, kv and the last output projection
  kGroupedOutput,  // wo_a
  kCompressors,    // projections and pooling
  kIndexer,        // everything that makes index queries and keys
  kIndexScores,    // choosing the rows
  kAttentionWindow,
  kAttentionSparse,
  kAttentionHeavy,
  kAttentionDense,  // predecessors: every position
  kRouter,
  kExperts,  // routed and shared
  kDenseFfn,
  kHyper,
  kVectors,  // norms, rotations, packing of rows
  kHead,
};
inline constexpr std::size_t kNParts = 16;

std::string_view part_name(Part part);
bool is_attention_core(Part part);

/// Costs by part.
class Work {
 public:
  Cost& operator[](Part part) { return costs_[static_cast<std::size_t>(part)]; }
  const Cost& operator[](Part part) const { return costs_[static_cast<std::size_t>(part)]; }

  /// Adds `cost` n times.
  void add(Part part, const Cost& cost, double n = 1);
  void add(const Work& other, double n = 1);

  Cost total() const;

 private:
  std::array<Cost, kNParts> costs_;
};

}  // namespace precis
