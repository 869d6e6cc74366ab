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

/// Compressed rows that the token at `position` sees: those of the blocks that ended.
constexpr std::int64_t n_visible_rows(std::int64_t position, int ratio) {
  return (position + 1) / ratio;
}

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

/// Host-made tables of one step that every layer shares: its ids and positions, the rotary angles of
/// its tokens and blocks, and how many compressed rows each token sees.
///
/// They lie behind each other in one buffer and come to the backend in one copy.  Where each lies
/// depends on the lengths of the sequences alone, so that a step can be repeated (Backend::run_step).
class StepTables {
 public:
  StepTables(const ModelConfig& config, Backend& backend, std::int64_t max_tokens);

  static std::int64_t n_bytes_for(const ModelConfig& config, std::int64_t max_tokens);

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

  std::span<const std::int32_t> ids() const {
    return {at<std::int32_t>(ids_at_), static_cast<std::size_t>(n_tokens_)};
  }
  /// The slice's first position, in the backend's memory.
  const std::int64_t* first_position_cell(const Slice& slice) const {
    return at<std::int64_t>(positions_at_) + index_of(slice);
  }
  /// Angles of the slice's tokens, for a layer of that kind.
  RopeTable token_rope(const Slice& slice, const LayerConfig& layer) const;
  /// Angles of the first positions of the blocks that the slice finishes.
  RopeTable block_rope(const Slice& slice, const LayerConfig& layer) const;
  /// n_visible_rows of each token of the slice.
  std::span<const std::int32_t> n_visible(const Slice& slice, const LayerConfig& layer) const;
  /// No token of the slice sees more rows.  A power of two where the step is short, so that it stays
  /// the same for many steps.
  std::int64_t max_visible(const Slice& slice, const LayerConfig& layer) const;

  /// Whether the step is short enough for its launches to cost more than a recording is worth.
  bool worth_recording() const;
  /// Appends all that decides which calls a step makes: its caches, its lengths and max_visible.
  void append_key(std::vector<std::uint64_t>& key) const;

  std::int64_t n_bytes() const { return static_cast<std::int64_t>(device_.n_bytes()); }

 private:
  struct RatioTables {
    int ratio = 0;
    std::int64_t angles_at = 0;   // [blocks, Dr]: room for every block that the step can finish
    std::int64_t visible_at = 0;  // i32 [T]
    std::vector<std::int64_t> first_block;  // per slice: its first row of the angles
  };

  template <typename T>
  const T* at(std::int64_t offset) const {
    return reinterpret_cast<const T*>(device_.data() + offset);
  }
  std::size_t index_of(const Slice& slice) const {
    return static_cast<std::size_t>(&slice - slices_.data());
  }
  const RatioTables& tables_of(int ratio) const;
  std::int64_t max_visible(const Slice& slice, int ratio) const;
  std::int64_t place(std::span<const std::int64_t> lengths);
  Mat<float> host_angles(std::int64_t offset, std::int64_t row, std::int64_t n_rows);
  void fill_slice(const Slice& slice, std::span<const std::int32_t> tokens);

  StepTables(const ModelConfig& config, Backend* backend);
  std::int64_t place_longest(std::int64_t max_tokens);

  Backend* backend_;
  int rope_dim_;
  std::vector<float> plain_frequencies_;  // empty: no layer wants them
  std::vector<float> yarn_frequencies_;   // likewise
  std::vector<RatioTables> ratios_;
  // Offsets in bytes.
  std::int64_t ids_at_ = 0;        // i32 [T]
  std::int64_t positions_at_ = 0;  // i64 [sequences]
  std::int64_t plain_at_ = 0;      // [T, Dr]
  std::int64_t yarn_at_ = 0;       // [T, Dr]
  Buffer device_;
  std::vector<std::byte> host_;
  std::vector<Slice> slices_;
  std::int64_t n_tokens_ = 0;
};

}  // namespace precis
