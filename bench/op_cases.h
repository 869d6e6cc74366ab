// The measured operations: every op of ops/backend.h at the shapes of a model's layers.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bench/op_data.h"
#include "bench/shapes.h"
#include "ops/cost.h"

namespace precis::bench {

/// One operation with its operands, ready to run.
struct OpCase {
  std::shared_ptr<OpData> data;
  std::function<void()> run;
  Cost cost;
};

/// A measurement before its operands exist; a large model's do not all fit at once.
struct OpRecipe {
  std::string op;    // "linear", "attend", …
  std::string part;  // of the layer: "wq_b", "heavy", …; empty where an op occurs once
  std::string dtype;
  std::vector<std::pair<std::string, std::int64_t>> shape;  // letter and value
  std::function<OpCase(Backend&)> make;
};

/// The recipes of one model for a step of `n_tokens`.  Those that depend on the context come once
/// for each of `contexts`: the step's last token is then that many tokens into the sequence.
std::vector<OpRecipe> recipes(const ModelShape& model, std::int64_t n_tokens,
                              const std::vector<std::int64_t>& contexts);

}  // namespace precis::bench
