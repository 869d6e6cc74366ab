#include "plan/planned_model.h"

#include <filesystem>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "model/config.h"
#include "plan/lineage_model.h"
#include "plan/released_models.h"
#include "plan/v4_model.h"

namespace precis {

Result<NamedModel> find_planned_model(const std::string& name_or_directory) {
  if (const auto released = find_released_model(name_or_directory)) {
    NamedModel named{released->name, released->source, nullptr};
    if (released->config.find("\"deepseek_v4\"") == std::string::npos) {
      PRECIS_ASSIGN_OR_RETURN(named.model, make_lineage_model(released->config, released->name));
    } else {
      PRECIS_ASSIGN_OR_RETURN(ModelConfig config, parse_config(released->config, released->name));
      named.model = make_v4_model(std::move(config));
    }
    return named;
  }
  const std::filesystem::path dir(name_or_directory);
  std::error_code ec;
  if (!std::filesystem::exists(dir, ec)) {
    return Error{ErrorCode::kNotFound,
                 fmt::format("model: want {} or a checkpoint directory, found \"{}\"",
                             fmt::join(released_model_names(), ", "), name_or_directory)};
  }
  NamedModel named;
  const auto path = dir.lexically_normal();
  named.name = (path.has_filename() ? path : path.parent_path()).filename().string();
  named.source = (path / "config.json").string();
  PRECIS_ASSIGN_OR_RETURN(named.model, open_v4_model(dir));
  return named;
}

}  // namespace precis
