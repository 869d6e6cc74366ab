#include "backend/cuda/limits.h"

#include <string>

#include <fmt/format.h>

#include "ops/backend.h"

namespace precis::cuda {
namespace {

Error unsupported(const std::string& what, const std::string& wanted, int found) {
  return {ErrorCode::kUnsupported,
          fmt::format("cuda: want {} {}, found {} (--backend cpu runs it)", wanted, what, found)};
}

}  // namespace

Result<void> check_sizes(const ModelSizes& sizes) {
  const int width = sizes.index.width;
  if (width != 0 && width != 32 && width != 64 && width != 128 && width != 256) {
    return unsupported("channels in an index row", "32, 64, 128 or 256", width);
  }
  const auto at_most = [](const char* what, int limit, int found) -> Result<void> {
    if (found <= limit) return {};
    return unsupported(what, fmt::format("at most {}", limit), found);
  };
  PRECIS_TRY(at_most("channels in a KV row", kMaxKvRowWidth, sizes.kv.width()));
  PRECIS_TRY(at_most("hyper-connection streams", kMaxStreams, sizes.n_streams));
  PRECIS_TRY(at_most("routed experts", kMaxExperts, sizes.n_experts));
  PRECIS_TRY(at_most("active experts", kMaxActiveExperts, sizes.n_active_experts));
  return {};
}

}  // namespace precis::cuda
