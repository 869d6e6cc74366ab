// Manifold-constrained hyper-connections (mHC): how M residual streams enter and leave a sub-layer.
#pragma once

#include <span>

#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// Mixing weights of one sub-layer.  M streams give M·(2 + M) mixing values a token, in the order
/// pre [M], post [M], comb [M, M] (source stream first).
struct HyperWeights {
  const Weight* fn = nullptr;    // F32 [M·(2+M), M·D]
  std::span<const float> base;   // [M·(2+M)]
  std::span<const float> scale;  // [3]: pre, post, comb
};

struct HyperParams {
  float norm_eps = 0;      // rms_norm_eps, inside the root mean square of the streams
  float hc_eps = 0;        // hc_eps, added to pre and in every Sinkhorn division
  int sinkhorn_iters = 0;  // hc_sinkhorn_iters, the first half-step included
};

/// Collapses the streams into the sub-layer's input and computes how its output returns.
///
/// Shapes    streams [T, M, D] · x [T, D] · post [T, M] · comb [T, M·M]
/// Ensures   Σ_source comb = 1 to about 1e-6 (columns are normalised last); post and comb stay f32
/// Source    docs/model.md §5.1; model.py `hc_pre`, `hc_split_sinkhorn`
struct HyperPreArgs {
  Cube<const float> streams;
  HyperWeights weights;
  HyperParams params;
  Mat<float> x;
  Mat<float> post;
  Mat<float> comb;
  Rounding rounding = Rounding::kNone;  // of x
};

/// out[t, j] = post[t, j]·f[t] + Σ_i comb[t, i, j]·streams[t, i].
///
/// Shapes    f [T, D] · streams, out [T, M, D]; out may be streams
/// Source    docs/model.md §5.1; model.py `hc_post`
struct HyperPostArgs {
  Mat<const float> f;
  Cube<const float> streams;
  Mat<const float> post;
  Mat<const float> comb;
  Cube<float> out;
  Rounding rounding = Rounding::kNone;
};

/// Collapses the streams for the output head: pre weights only.
///
/// Shapes    streams [T, M, D] · x [T, D] · weights.fn [M, M·D] · base [M] · scale [1]
/// Source    docs/model.md §5.10; model.py `ParallelHead.hc_head`
struct HyperHeadArgs {
  Cube<const float> streams;
  HyperWeights weights;
  HyperParams params;
  Mat<float> x;
  Rounding rounding = Rounding::kNone;
};

void check(const HyperPreArgs& args);
void check(const HyperPostArgs& args);
void check(const HyperHeadArgs& args);

}  // namespace precis
