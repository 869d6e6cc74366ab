#include "backend/ref/numbers.h"
#include "backend/ref/ops.h"

namespace precis::ref {

void rms_norm(const RmsNormArgs& args) {
  for (std::int64_t i = 0; i < args.x.rows; ++i) {
    normalise(args.x.row_span(i), args.weight, args.eps, args.rounding, args.out.row_span(i));
  }
}

void add_to_streams(const AddToStreamsArgs& args) {
  for (std::int64_t t = 0; t < args.x.rows; ++t) {
    for (std::int64_t m = 0; m < args.streams.planes; ++m) {
      float* stream = args.streams.at(t, m);
      for (std::int64_t d = 0; d < args.x.cols; ++d) {
        stream[d] = rounded(static_cast<double>(stream[d]) + args.x(t, d), args.rounding);
      }
    }
  }
}

}  // namespace precis::ref
