// Token ids to the first layer's streams.
#pragma once

#include <cstdint>
#include <span>

#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// Copies the embedding of each token into every hyper-connection stream.
///
/// Shapes    ids [T] · table [V, D] bf16 or f32 · out [T, M, D]; M = 1 gives plain embeddings
/// Requires  0 <= id < V
struct EmbedArgs {
  std::span<const std::int32_t> ids;
  const Weight* table = nullptr;
  Cube<float> out;
};

void check(const EmbedArgs& args);

}  // namespace precis
