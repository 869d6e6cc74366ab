// precis version: which program this is.
#include <fmt/core.h>

#include "precis/host.h"
#include "precis/paths.h"

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/options.h"

namespace precis::cli {
namespace {

int version(const OutputFlags& output) {
  const Result<std::filesystem::path> model = model_path({});
  const std::string model_name = model ? model->string() : "none";
  const Result<std::string> isa = cpu_instruction_set();
  if (output.json) {
    print_json({{"version", PRECIS_VERSION},
                {"compiler", __VERSION__},
                {"processors", available_processors()},
                {"isa", isa ? Json(*isa) : Json(nullptr)},
                {"default_model", model ? Json(model_name) : Json(nullptr)}});
    return kOk;
  }
  fmt::print("precis {}\n", PRECIS_VERSION);
  fmt::print("  compiler       {}\n", __VERSION__);
  fmt::print("  processors     {}\n", available_processors());
  fmt::print("  instructions   {}\n", isa ? *isa : isa.error().message);
  fmt::print("  default model  {}\n", model_name);
  return kOk;
}

}  // namespace

void add_version(CLI::App& app, int& exit_code) {
  auto output = std::make_shared<OutputFlags>();
  CLI::App& command = add_command(
      app, "version",
      "Shows the version, the compiler, the instruction set in use and the default model.\n"
      "A bug report should contain this output.",
      "  precis version\n  precis version --json\n");
  add_output_flags(command, *output);
  command.callback([output, &exit_code] { exit_code = version(*output); });
}

}  // namespace precis::cli
