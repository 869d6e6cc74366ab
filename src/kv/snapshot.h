// A session's content as one file: tokens, last logits, the fixed part and the pages of its cache.
//
// The bytes are described in docs/snapshot_format.md.  A file is read only if its version, model,
// mode and every checksum fit; nothing of a cache changes before that is known.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "precis/status.h"

#include "kv/kv_cache.h"

namespace precis {

/// What a snapshot belongs to; must be equal on loading.
struct SnapshotIdentity {
  std::uint64_t model_fingerprint = 0;
  std::uint32_t mode = 0;  // 0 release, 1 f32
  std::uint32_t vocab_size = 0;
};

struct SnapshotContent {
  std::vector<std::int32_t> tokens;
  std::vector<float> logits;  // [V]
};

/// Writes `cache` and what goes with it to `path`, atomically.
///
/// Requires  tokens.size() == cache.n_tokens() > 0; logits.size() == identity.vocab_size
/// Errors    kIo — the file cannot be written in full; `path` is what it was
Result<void> write_snapshot(const std::filesystem::path& path, const SnapshotIdentity& identity,
                            std::span<const std::int32_t> tokens, std::span<const float> logits,
                            const KvCache& cache);

/// Reads a snapshot into `cache`, replacing what it holds.
///
/// Errors    kNotFound, kIo; kCorrupt — damaged or truncated; kUnsupported — another version,
///           model, mode or layout; kBudget — more tokens than the cache can hold.  The cache is
///           unchanged.
Result<SnapshotContent> read_snapshot(const std::filesystem::path& path,
                                      const SnapshotIdentity& identity, KvCache& cache);

}  // namespace precis
