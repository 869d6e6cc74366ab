// One step: tokens of one or more sequences that go through the layers together.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kv/kv_cache.h"
#include "model/config.h"
#include "ops/backend.h"
#include "ops/rope.h"
#include "tensor/buffer.h"

namespace precis {

/// The next tokens of one sequence; they follow what its cache holds.
struct SequenceStep {
  KvCache* cache = nullptr;
  std::span<const std::int32_t> tokens;
};

/// Which rows one sparse layer gave to the tokens of one sequence, as the step goes by.
struct SelectionView {
  int layer = 0;
  std::size_t sequence = 0;
  Mat<const std::int32_t> rows;         // [T of the sequence, K]
  Mat<const float> mass;                // [T of the sequence, K]; empty unless asked for
  const SelectArgs* scoring = nullptr;  // what the rows were scored with, in the backend's memory
};

/// What an observer of a step may look at, and how much it costs: attention masses are only
/// computed when asked for.
struct StepObserver {
  std::function<void(const SelectionView&)> on_selection;
  bool want_mass = false;
};

/// Host-made tables of one step that every layer shares: rotary angles of its positions and how
/// many compressed rows each token sees.
class StepTables {
 public:
  StepTables(const ModelConfig& config, Backend& backend, std::int64_t max_tokens);

  /// Where a sequence's tokens lie in the step, and its tables.
  struct Slice {
    KvCache* cache = nullptr;
    std::int64_t begin = 0;  // first of its tokens among the step's
    std::int64_t n_tokens = 0;
    std::int64_t first_position = 0;
  };

  /// Prepares the tables for `sequences`.
  ///
  /// Requires  at most max_tokens tokens in all
  void prepare(std::span<const SequenceStep> sequences);

  std::span<const Slice> slices() const { return slices_; }
  std::int64_t n_tokens() const { return n_tokens_; }

  /// Angles of the slice's tokens, for a layer of that kind.
  RopeTable token_rope(const Slice& slice, const LayerConfig& layer) const;
  /// Angles of the first positions of the blocks that the slice finishes.
  RopeTable block_rope(const Slice& slice, const LayerConfig& layer) const;
  /// Rows visible to each token of the slice: (position + 1) / ratio.
  std::span<const std::int32_t> n_visible(const Slice& slice, const LayerConfig& layer) const;

  std::int64_t n_bytes() const { return n_bytes_; }

 private:
  struct RatioTables {
    int ratio = 0;
    Buffer block_angles;  // [T + sequences, Dr]: room for every block a step can finish
    Buffer visible;       // i32 [T]
    std::vector<std::int64_t> first_block;  // per slice: its first row in block_angles
    std::vector<std::int64_t> n_blocks;
  };

  Buffer allocate(std::int64_t n_words);
  const RatioTables& tables_of(int ratio) const;
  void upload_angles(std::span<const float> frequencies, std::int64_t first_position,
                     std::int64_t stride, std::int64_t n, const Buffer& buffer,
                     std::int64_t at_row);

  Backend& backend_;
  int rope_dim_;
  std::vector<float> plain_frequencies_;
  std::vector<float> yarn_frequencies_;
  Buffer plain_angles_;  // [T, Dr]
  Buffer yarn_angles_;   // [T, Dr]
  std::vector<RatioTables> ratios_;
  std::vector<Slice> slices_;
  std::vector<float> host_;
  std::int64_t n_tokens_ = 0;
  std::int64_t n_bytes_ = 0;
  bool any_window_ = false;
};

}  // namespace precis
