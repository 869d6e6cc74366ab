// Native sparse attention: compressed blocks, selected blocks and a window, mixed by three gates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/backend.h"
#include "tensor/view.h"

namespace precis {

/// Source    "Native Sparse Attention" (arXiv 2502.11089), §3 and §4.1
struct NsaParams {
  int block = 32;          // tokens of a compressed block
  int stride = 16;         // between two of them; divides block
  int select_block = 64;   // a multiple of stride
  int n_selected = 16;     // blocks, the fixed ones included
  int n_first_blocks = 1;  // always selected
  int n_last_blocks = 2;   // always selected, the token's own included
  int window = 512;

  /// Complete compressed blocks among `n_tokens` tokens.
  std::int64_t n_blocks(std::int64_t n_tokens) const {
    return n_tokens < block ? 0 : (n_tokens - block) / stride + 1;
  }
};

/// One step.  Each branch has rows of its own: a row is one KV head's key, then its value.
struct NsaArgs {
  NsaParams params;
  Cube<const float> q;  // [T, H, Dk]
  KvRowFormat format;
  Channels key;
  Channels value;
  int n_kv_heads = 1;
  float scale = 0;
  WindowRows window;       // window.window == params.window
  RowPool tokens;          // one row a token, for the selected blocks
  RowPool blocks;          // one row a compressed block
  Mat<const float> gates;  // [T, 3·H]: compressed, selected, window
  Cube<float> out;         // [T, H, Dv]
};

/// The select blocks of one token, ascending, of at most `n_selected`.
///
/// `mass` [n_blocks(position + 1)] is the probability of each compressed block, summed over the
/// heads of a KV head.  A select block's score is the sum over compressed blocks of their mass
/// times the strides of theirs that lie in it (eq. 9 of the paper, with blocks counted from 1).
/// Equal scores: the lower block.
std::vector<std::int32_t> choose_blocks(const NsaParams& params, std::span<const float> mass,
                                        std::int64_t position);

/// Runs the three branches and mixes them; keeps its buffers between runs.
class NsaStep {
 public:
  explicit NsaStep(const NsaArgs& args);
  void run(Backend& backend);

  /// Rows of the selected blocks, [T·G, n_selected · select_block], −1 at the end of each list.
  Mat<const std::int32_t> listed() const;

 private:
  std::int64_t position(std::int64_t t) const { return args_.window.step_begin + t; }
  AttendArgs branch(std::vector<float>& out) const;
  void list_blocks();
  void mix();

  NsaArgs args_;
  std::int64_t n_lists_;  // T·G
  std::int64_t n_mass_;
  std::int64_t n_listed_;
  std::vector<std::int32_t> n_blocks_;  // [T]
  std::vector<float> mass_;             // [T·G, n_mass]
  std::vector<std::int32_t> listed_;    // [T·G, n_listed]
  std::vector<float> compressed_;       // [T, H, Dv], as the next two
  std::vector<float> selected_;
  std::vector<float> windowed_;
};

}  // namespace precis
