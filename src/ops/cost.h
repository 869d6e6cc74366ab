// What one call of an operation must cost: floating-point operations by precision, and bytes that
// have to move whatever the implementation.
//
// The only home of these formulas: benchmarks compare a measured time with bound_s() of them, and
// a prediction of speed adds them up, so the yardstick and the prediction cannot drift apart.
#pragma once

#include "ops/attend.h"
#include "ops/compress.h"
#include "ops/embed.h"
#include "ops/experts.h"
#include "ops/hyper.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/query.h"
#include "ops/select.h"

namespace precis {

/// Operations by the narrowest operands whose products are exact in the next class up; a multiply
/// and an add count two.
struct FlopCount {
  double fp8 = 0;      // e4m3 activations times e4m3 weights
  double fp4 = 0;      // e4m3 activations times e2m1 weights
  double bf16 = 0;     // bf16 activations times bf16 (or e4m3) weights; attention
  double f32 = 0;      // products with F32 weights
  double int8 = 0;     // index scores: e2m1 codes are small integers
  double element = 0;  // f32 work that is no product: norms, mixing, softmax of the compressor

  double total() const { return fp8 + fp4 + bf16 + f32 + int8 + element; }
  FlopCount& operator+=(const FlopCount& other);
};

/// Cost of one call, or a sum of calls.
///
/// `bytes` are compulsory: every weight, row and activation that the call reads, once, and every
/// one that it writes, once.
struct Cost {
  FlopCount flop;
  double bytes = 0;

  Cost& operator+=(const Cost& other);
};

/// What a machine does at most in a second; element-wise work runs at the f32 rate.
struct Peak {
  double fp8_flop_per_s = 0;
  double fp4_flop_per_s = 0;
  double bf16_flop_per_s = 0;
  double f32_flop_per_s = 0;
  double int8_flop_per_s = 0;
  double bytes_per_s = 0;
};

/// Seconds that `cost` takes at least: its arithmetic at each class's rate, one class after the
/// other, or its bytes, whichever is longer.
///
/// Requires  the rate of every class that occurs in `cost`, and bytes_per_s, are positive
/// Errors    none
double bound_s(const Cost& cost, const Peak& peak);

/// Bytes of a matrix as a checkpoint stores it, scales included (blocks of 128 x 128 or 1 x 32).
///
/// Errors    none
double stored_bytes(WeightFormat format, std::int64_t n_out, std::int64_t n_in);

/// Cost of one call.  The formulas, in the letters of docs/glossary.md, w(·) = stored_bytes:
///
///   embed         bytes T·D·width + 4·T·M·D + 4·T
///   linear        2·T·n_out·n_in flop a target; bytes w(·) + 4·T·(n_groups·n_in + n_out)
///   rms_norm      4·n·width flop; bytes 8·n·width + 4·width
///   hyper_pre     2·T·M·(2+M)·M·D flop f32, 4·T·M·D element; bytes w(fn) + 4·T·(M·D + D + M + M·M)
///   hyper_post    2·T·M·D·(1+M) flop element; bytes 4·T·(2·M·D + D + M + M·M)
///   hyper_head    2·T·M·M·D flop f32, 4·T·M·D element; bytes w(fn) + 4·T·(M·D + D)
///   query         4·T·H·Dh + 6·T·H·Dr/2 flop element; bytes 8·T·H·Dh + 4·T·Dr
///   window_rows   5·T·Dh flop element; bytes T·(4·Dh + 4·Dr + row)
///   commit        bytes 2·min(T, W)·row
///   index_query   T·Hi·(Di·log2 Di + 3·Dr) flop element; bytes T·(4·Hi·Di + 4·Dr + Hi·index row)
///   compress      8·R·w·(1+o) flop element a finished row; bytes 8·T·w·(1+o), the state written,
///                 the state read where a block ends, and the finished rows
///   select        2·Hi·Di·Σ_t visible flop int8 (fp8 with e4m3 keys); bytes max_t visible·index row + queries + 4·T·K
///   attend        2·H·(Dk + Dv)·Σ_t rows flop bf16; bytes distinct rows + 4·T·H·(Dk + Dv)
///   route         2·T·E·D flop bf16; bytes w(gate) + 4·T·(D + 2·A)
///   experts       6·T·A·D·F flop of w1's class + 6·T·D·F of the shared expert's;
///                 bytes E·(1 − (1 − A/E)^T) experts, the expected number that uniform routing
///                 reads, the shared expert, and 8·T·D
///
/// Requires  as check(args) of the operation; `select` and `attend` also read n_visible, n_first
///           and listed, which must be readable by the caller
/// Errors    none
/// Source    docs/model.md §9 for the products
Cost cost(const EmbedArgs& args);
Cost cost(const LinearArgs& args);
Cost cost(const RmsNormArgs& args);
Cost cost(const AddToStreamsArgs& args);
Cost cost(const HyperPreArgs& args);
Cost cost(const HyperPostArgs& args);
Cost cost(const HyperHeadArgs& args);
Cost cost(const QueryArgs& args);
Cost cost(const WindowRowsArgs& args);
Cost cost(const CommitWindowArgs& args);
Cost cost(const IndexQueryArgs& args);
Cost cost(const CompressArgs& args);
Cost cost(const SelectArgs& args);
Cost cost(const AttendArgs& args);
Cost cost(const RouteArgs& args);
Cost cost(const ExpertsArgs& args);

}  // namespace precis
