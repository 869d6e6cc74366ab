// Session: one token timeline over one KV cache.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "precis/status.h"
#include "precis/text.h"

namespace precis {

/// How far a sync has come.
struct Progress {
  std::int64_t done_tokens = 0;  // of those that had to be computed
  std::int64_t total_tokens = 0;
};
/// Called after every chunk, from the calling thread; false stops the sync.
using ProgressFn = std::function<bool(const Progress&)>;

/// The compressed rows that the last token read in one sparse (CSA) layer.
struct SelectedRows {
  int layer = 0;
  int ratio = 0;  // row r pools tokens r·ratio − ratio … r·ratio + ratio − 1
  std::vector<std::int32_t> rows;  // in order of the indexer's score
  std::vector<float> mass;         // attention probability of each row, summed over heads
};

struct SessionStats {
  std::int64_t n_computed = 0;      // tokens run through the model
  std::int64_t n_reused = 0;        // tokens of synced prompts that were already there
  std::int64_t n_replayed = 0;      // tokens computed again after going back
  double prefill_seconds = 0;       // in sync
  double decode_seconds = 0;        // in step
  std::int64_t kv_bytes = 0;        // held now
  std::int64_t frontier_bytes = 0;  // held now
};

/// One token timeline.
///
/// Going back never truncates: window slots and compressor states were overwritten, so an earlier
/// point is restored from the nearest saved frontier and the rest is computed again.  Frontiers are
/// kept at the end of every sync and at intervals inside long ones.
/// Rows, selections and logits are bitwise the same for every cut of the tokens into calls.
///
/// Threads   one caller at a time; sessions of one engine take turns
class Session {
 public:
  ~Session();

  /// Extends or rewinds the session so that it holds exactly `prompt`.
  ///
  /// Units     tokens
  /// Ensures   on success position() == prompt.size() and logits() belong to its last token; on
  ///           kInvalidArgument and kBudget the session is unchanged; on kCancelled it holds a
  ///           prefix of `prompt`
  /// Errors    kInvalidArgument — empty prompt, or a token outside the vocabulary; kBudget — the
  ///           prompt is longer than max_tokens(); kCancelled — progress returned false
  /// Cost      one forward pass over the tokens after the frontier nearest to the common prefix
  Result<void> sync(std::span<const TokenId> prompt, const ProgressFn& progress = {});

  /// Appends one token: the same bits as sync(tokens() + token).
  ///
  /// Errors    as sync; the session is unchanged
  Result<void> step(TokenId token);

  /// Next-token logits after the last token; empty before the first.
  std::span<const float> logits() const;  // [V]

  std::span<const TokenId> tokens() const;
  std::int64_t position() const;
  std::int64_t max_tokens() const;

  /// Records which rows the last token of every sync and step reads.  Off at first.
  enum class Observe : std::uint8_t { kOff, kOn };
  void observe_selection(Observe observe);
  /// One entry per sparse layer, of the last token; empty when not observing, and under an ablation
  /// that leaves no selection (window, dense, csa-off).
  const std::vector<SelectedRows>& selected_rows() const;

  SessionStats stats() const;

  /// Writes tokens, rows, rings, states and logits to one file, atomically.
  ///
  /// Errors    kIo — the file cannot be written in full; nothing is left behind; kUnsupported — the
  ///           engine's attention is ablated, and the file would not say so
  /// Source    docs/snapshot_format.md
  Result<void> save(const std::filesystem::path& path) const;

  /// Replaces this session's content by a saved one; next logits are bitwise those of the save.
  ///
  /// Errors    kNotFound, kIo; kCorrupt — damaged or truncated; kUnsupported — another version,
  ///           model or mode, or the engine's attention is ablated; kBudget — longer than
  ///           max_tokens().  The session is unchanged.
  Result<void> load(const std::filesystem::path& path);

  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace precis
