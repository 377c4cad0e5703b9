package dashboard

// routes are all that is answered, by the name that follows the path of the dashboard.
// There are no paths with parts in them: what a page is about is in its query, where an id
// may have any letter.
func (d *Dashboard) routes() map[string]route {
	view := func(serve func(*request) error) route { return route{least: RoleView, serve: serve} }
	act := func(least Role, serve func(*request) error) route {
		return route{post: true, least: least, serve: serve}
	}
	return map[string]route{
		"":           view(d.overview),
		"queues":     view(d.queues),
		"queue":      view(d.queue),
		"jobs":       view(d.jobs),
		"job":        view(d.job),
		"find":       view(d.find),
		"edit":       {least: RoleAdmin, serve: d.edit},
		"errors":     view(d.errorGroups),
		"workers":    view(d.workers),
		"worker":     view(d.worker),
		"schedules":  view(d.schedules),
		"limits":     view(d.limits),
		"limit":      view(d.limit),
		"figures":    view(d.figurePage),
		"operations": view(d.operationList),
		"operation":  view(d.operation),
		"audit":      view(d.auditLog),
		livePath:     view(d.live),
		"style.css":  view(d.asset),
		"live.js":    view(d.asset),
		"icon.svg":   view(d.asset),

		// Acts on jobs ask for more where they delete.
		"act":             act(RoleOperate, d.actOnJobs),
		"act-all":         act(RoleOperate, d.actOnAll),
		"stop-operation":  act(RoleOperate, d.stopOperation),
		"pause-queue":     act(RoleOperate, d.pauseQueue),
		"resume-queue":    act(RoleOperate, d.resumeQueue),
		"pause-schedule":  act(RoleOperate, d.pauseSchedule),
		"resume-schedule": act(RoleOperate, d.resumeSchedule),
		"run-schedule":    act(RoleOperate, d.runSchedule),

		"copy-job": act(RoleOperate, d.copyJob),
		"edit-job": act(RoleAdmin, d.editJob),

		"set-limit":   act(RoleOperate, d.setLimit),
		"reset-limit": act(RoleOperate, d.resetLimit),

		"quiet-workers":  act(RoleOperate, d.quietWorkers),
		"resume-workers": act(RoleOperate, d.resumeWorkers),
		"resize-workers": act(RoleOperate, d.resizeWorkers),
		"worker-stacks":  act(RoleOperate, d.workerStacks),
		"stop-workers":   act(RoleAdmin, d.stopWorkers),
	}
}
