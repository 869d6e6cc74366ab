// One attention layer of any kind over random rows, ready to run on a backend.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "precis/lineage.h"

#include "ops/backend.h"

namespace precis {

/// The rows of a layer that has seen `context` tokens; a step repeats its last tokens.
class AttentionLayer {
 public:
  struct Size {
    std::int64_t context = 0;
    std::int64_t max_step_tokens = 1;  // at most context
    std::int64_t max_bytes = 0;        // of rows
    std::uint64_t seed = 1;
  };

  virtual ~AttentionLayer() = default;

  /// Makes the queries and lists of a step of the last n_tokens tokens.
  ///
  /// Requires  1 <= n_tokens <= max_step_tokens
  virtual void prepare(std::int64_t n_tokens) = 0;
  /// Runs that step: its operations, and what joins them.
  virtual void run(Backend& backend) = 0;
  /// Whether some pages of rows stand for several.
  virtual bool reuses_rows() const = 0;
};

/// Requires  `kind` runs, and is not "v4", which is the mean of three that do
std::unique_ptr<AttentionLayer> make_attention_layer(std::string_view kind,
                                                     const AttentionShape& shape,
                                                     const AttentionLayer::Size& size);

}  // namespace precis
