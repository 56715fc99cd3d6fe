#include "cli/run_history.hpp"

#include <cmath>

#include <doctest/doctest.h>

#include "tests/cli/files.hpp"

using namespace troupe;

TEST_CASE("a resumed run knows its losses and cuts up to where it goes on") {
  const scratch_folder folder;
  const auto metrics = write_file(folder, "metrics.jsonl", R"({"kind":"step","step":1,"loss":3.5}
{"kind":"step","step":2,"loss":0.5}
{"kind":"evaluation","step":2,"train_loss":2.5,"validation_loss":2.25,"seconds":0.5}
{"kind":"cut","step":2,"path":"checkpoints/2"}
{"kind":"step","step":3,"loss":1.0}
{"kind":"step","step":2,"loss":2.5}
{"kind":"step","step":3,"loss":2.75}
{"kind":"evaluation","step":3,"train_loss":2.5,"validation_loss":2.5,"seconds":0.5}
{"kind":"step","step":4,"loss":null}
{"kind":"cut","step":4,"path":"checkpoints/4"}
{"kind":"step","st)");
  const auto three = read_history(metrics, 3);
  CHECK(three.last_loss == 2.75);
  CHECK(three.best_loss == 2.5);  // step 2 came again, and counts as it was last
  CHECK(three.last_cut == "checkpoints/2");
  REQUIRE(three.best_evaluation);
  CHECK(three.best_evaluation->step == 2);
  CHECK(three.last_evaluation->step == 3);
  CHECK(std::isnan(*read_history(metrics, 4).last_loss));
  CHECK(read_history(metrics, 4).best_loss == 2.5);

  job_summary nothing_more;
  nothing_more.first_step = nothing_more.steps = 3;
  three.complete(nothing_more);
  CHECK(nothing_more.last_loss == 2.75);
  CHECK(nothing_more.last_cut == "checkpoints/2");
  CHECK(nothing_more.best_evaluation->validation_loss == 2.25);

  job_summary more;
  more.first_step = 3;
  more.steps = 5;
  more.last_loss = 2.0;
  more.last_evaluation = more.best_evaluation = evaluation_report{5, 2.4, 2.375, 0.5};
  three.complete(more);
  CHECK(more.last_loss == 2.0);
  CHECK(more.last_evaluation->step == 5);
  CHECK(more.best_evaluation->step == 2);
  more.best_evaluation = evaluation_report{5, 2.0, 2.0, 0.5};
  three.complete(more);
  CHECK(more.best_evaluation->step == 5);

  CHECK_FALSE(read_history(folder.path() / "nowhere", 3).last_loss);
}
