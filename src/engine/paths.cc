#include "precis/paths.h"

#include <system_error>

#include <fmt/format.h>

#include "base/env.h"

namespace precis {
namespace {

namespace fs = std::filesystem;

bool is_checkpoint(const fs::path& directory) {
  std::error_code ignored;
  return fs::is_regular_file(directory / "config.json", ignored);
}

fs::path beside_build(const fs::path& executable) {
  return executable.parent_path().parent_path() / "models" / "mini";
}

fs::path installed(const fs::path& executable) {
  return executable.parent_path().parent_path() / "share" / "precis" / "models" / "mini";
}

}  // namespace

fs::path executable_path() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
}

Result<fs::path> default_model_path(const fs::path& executable) {
  if (const auto named = env_model()) {
    if (is_checkpoint(*named)) return fs::path(*named);
    return Error{ErrorCode::kNotFound,
                 fmt::format("PRECIS_MODEL is {}: want a directory with a config.json", *named)};
  }
  for (const fs::path& candidate : {beside_build(executable), installed(executable)}) {
    if (is_checkpoint(candidate)) return candidate;
  }
  return Error{ErrorCode::kNotFound,
               fmt::format("no model was named, and neither {} nor {} is a checkpoint",
                           beside_build(executable).string(), installed(executable).string())};
}

bool is_bundled_model(const fs::path& model, const fs::path& executable) {
  std::error_code ignored;
  return fs::equivalent(model, beside_build(executable), ignored) ||
         fs::equivalent(model, installed(executable), ignored);
}

}  // namespace precis
