#include "backend/registry.h"

#include <fmt/format.h>

#include "backend/cpu/backend.h"
#include "backend/ref/backend.h"

namespace precis {

Result<std::unique_ptr<Backend>> make_backend(std::string_view name, ThreadPool& threads) {
  if (name == "auto" || name == "cpu") return make_cpu_backend(threads);
  if (name == "ref") return make_ref_backend();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("the backend must be auto, cpu or ref, not \"{}\"", name)};
}

std::vector<std::string> backend_names() {
  return {"cpu", "ref"};
}

}  // namespace precis
