#include "tests/simulation/cluster.hpp"

namespace troupe {

simulated_cluster::simulated_cluster(simulator& sim, job_context_ptr context)
    : sim_(sim),
      wire_(sim, {.delay_max = milliseconds{sim.chance(0.5) ? 20 : 1}}),
      context_(std::move(context)) {
  start_head();
}

simulated_cluster::~simulated_cluster() {
  here_->forget();
  for (const auto& each : members_)
    send_exit(each->node->agent(), caf::exit_reason::kill);
  send_exit(head_->membership(), caf::exit_reason::kill);
}

void simulated_cluster::start_job(const job_observer& observer) {
  log_ = std::make_shared<job_log>(*context_, observer);
  done_ = std::make_shared<bool>(false);
  const auto listener = sim_.system().spawn([done = done_](caf::event_based_actor*) -> caf::behavior {
    return {[done](const job_done&) { *done = true; }};
  });
  auto places = places_on(head_, context_);
  places.spawn = [this, spawn = places.spawn, here = here_](caf::actor_system& system, const child_context& child,
                                                            const caf::actor& coordinator) {
    if (here->dead)
      return caf::actor{};
    here->coordinator = coordinator;
    auto spawned = spawn(system, child, coordinator);
    if (role_of(child.name).kind != role_kind::writer)
      return spawned;
    here->writer = spawned;
    return here->disk = slow_disk_ ? spawn_slow_disk(spawned) : spawned;
  };
  here_->root = caf::actor_cast<caf::actor>(spawn_job(sim_.system(), context_, log_, names_, listener, places));
  sim_.observe(names_);
}

void simulated_cluster::kill_head() {
  wire_.kill(*head_net_);
  here_->dead = true;
  for (const auto& each : {caf::actor_cast<caf::actor>(names_), head_->membership(), here_->root, here_->disk, here_->writer})
    send_exit(each, caf::exit_reason::kill);
  send_exit(here_->coordinator, make_error(errc::killed_by_chaos, "its process was killed"));  // ends its tree, too
  here_->forget();
}

void simulated_cluster::succeed_head(job_context_ptr context) {
  context_ = std::move(context);
  start_head();
}

void simulated_cluster::add_node(std::shared_ptr<surviving_cuts> survivors) {
  auto one = std::make_shared<member>();
  one->net = wire_.make_network();
  one->survivors = survivors;
  cluster_node_options options;
  options.codecs = job_codecs();
  options.offer.resources = this_node();
  one->cores = options.offer.resources.cores =
      cores_ ? *cores_ : 1.0 + static_cast<double>(sim_.draw(2));
  options.prepare = [this, context = context_, survivors, one = one.get()](const prepare_job& what) {
    auto job = prepare_with(survivors, *context, what);
    job.spawn = [this, spawn = job.spawn, one](caf::actor_system& system, spawn_actor actor) {
      if (one->spawned.empty() && (one->is_late || one->was_lost))
        probe(one->is_late ? "fault: a node joined and got work" : "fault: a node that was lost joined anew and got work");
      if (role_of(actor.name).kind == role_kind::replica && one->step_seconds > 0.0)
        actor.owner = spawn_stopwatch(one->shared_from_this(), actor.owner);
      one->spawned.push_back({actor.name, spawn(system, actor)});
      return one->spawned.back().who;
    };
    return job;
  };
  options.on_joined = [one = one.get()](node_id id) { one->id = id; };
  options.on_end = [this, survivors, one = one.get()](const node_end& how) {
    one->ended = how.what;
    if (how.what == node_end::kind::released)
      probe(how.text == "drained" ? "fault: a node was drained" : "fault: a node left undrained at its deadline");
    wire_.kill(*one->net);  // its process ends, or joins anew as another node
    if (how.what == node_end::kind::lost && !finished_)
      later_.push_back({sim_.steps() + 200, survivors, true});
  };
  options.die = [this, one = one.get()] { kill(*one); };
  one->node = std::make_shared<cluster_node>(sim_.system(), one->net, std::move(options));
  one->node->join(head_->endpoint(), [this, survivors, one = one.get()](const dial_result&) {
    one->ended = node_end::kind::unfit;
    if (!finished_)
      later_.push_back({sim_.steps() + 200, survivors});
  });
  members_.push_back(std::move(one));
}

void simulated_cluster::add_stuck_node() {
  stuck_ = wire_.make_network();
  stuck_->start({[](link_id, const std::string&) { return introduction_reply{true, {}}; }, [](link_id, parcel) {},
                 [](link_id, const std::string&) {}});
  introduction mine;
  mine.what = introduction::kind::join;
  mine.offer = {stuck_->endpoint(), this_node()};
  stuck_->dial(head_->endpoint(), encode(mine), [](const dial_result&) {});
}

caf::actor simulated_cluster::spawn_stopwatch(std::shared_ptr<const member> one, const caf::actor& coordinator) {
  return sim_.system().spawn([head = std::weak_ptr(head_), one = std::move(one),
                              coordinator](caf::event_based_actor* self) -> caf::behavior {
    const auto pass_on = [self, coordinator](const auto& message) {
      send_as(caf::actor_cast<caf::actor>(self->current_sender()), coordinator, message);
    };
    return {[=](const lane_paused& message) { pass_on(message); },
            [=](const lane_stuck& message) { pass_on(message); },
            [=](lane_report message) {
              const auto at = head.lock();
              const auto lanes = at ? at->board().homes().lanes : std::vector<node_id>{};
              const auto here = static_cast<double>(std::count(lanes.begin(), lanes.end(), one->id));
              message.seconds = one->step_seconds * std::max(1.0, here / one->cores);
              pass_on(message);
            }};
  });
}

caf::actor simulated_cluster::spawn_slow_disk(const caf::actor& writer) {
  return sim_.system().spawn([writer, &sim = sim_](caf::event_based_actor* self) -> caf::behavior {
    self->link_to(writer);
    return {[writer, &sim](const write_part& part) {
      caf::delayed_anon_send(writer, milliseconds{sim.draw(300)}, part);
    }};
  });
}

void simulated_cluster::start_head() {
  here_ = std::make_shared<head_process>();
  names_ = spawn_directory(sim_.system());
  cluster_head_options options;
  options.codecs = job_codecs();
  options.demands = demands_of(*context_);
  options.terms.job.from_before = inheritance_of(*context_);
  options.terms.prepare_within = context_->settings.supervision.stall_after;
  options.cluster = "simulated";
  options.status = [] { return std::string{"{}"}; };
  options.tell = [](const log_line& line) { say(line.message); };
  head_net_ = wire_.make_network();
  head_ = std::make_shared<cluster_head>(sim_.system(), head_net_, std::move(options));
  head_->start(names_);
}

}  // namespace troupe
