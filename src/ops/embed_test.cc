#include "ops/embed.h"

#include "ops/op_test_util.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(Embed);

std::vector<float> embed(Backend& backend, const TestWeight& table,
                         const std::vector<std::int32_t>& ids, int n_streams) {
  const std::unique_ptr<Weight> weight = backend.load_weight(table.source());
  const std::int64_t n = std::ssize(ids);
  std::vector<float> out(n * n_streams * table.n_in);
  backend.embed({ids, weight.get(), {out.data(), n, n_streams, table.n_in}});
  return out;
}

TEST_P(Embed, CopiesTheRowIntoEveryStream) {
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kF32}) {
    for (const std::int64_t width : {1, 15, 64, 160, 257}) {
      const TestWeight table = make_weight(format, 37, width, Fill::kRandom, 5);
      const std::vector<float> rows = table.decoded();
      for (const std::int64_t n_tokens : kTokenCounts) {
        const std::vector<std::int32_t> ids = random_ints(n_tokens, 9, 37);
        for (const int n_streams : {1, 4}) {
          std::vector<float> want;
          for (const std::int32_t id : ids) {
            for (int m = 0; m < n_streams; ++m) {
              want.insert(want.end(), rows.begin() + id * width, rows.begin() + (id + 1) * width);
            }
          }
          expect_same_bits(embed(*backend_, table, ids, n_streams), want,
                           "width " + std::to_string(width));
        }
      }
    }
  }
}

}  // namespace
}  // namespace precis
