#include <algorithm>

#include "backend/ref/ops.h"
#include "backend/ref/weight.h"

namespace precis::ref {

void embed(const EmbedArgs& args) {
  for (std::int64_t t = 0; t < args.out.n; ++t) {
    const std::span<const float> row = weight_row(args.table, args.ids[t]);
    for (std::int64_t m = 0; m < args.out.planes; ++m) std::ranges::copy(row, args.out.at(t, m));
  }
}

}  // namespace precis::ref
