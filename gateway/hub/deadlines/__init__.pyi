from .active_timetable import ActiveTimetable as ActiveTimetable
from .active_timetable import load_shipped_timetable as load_shipped_timetable
from .active_timetable import read_editions as read_editions
from .case_deadlines import settle_deadlines as settle_deadlines
from .deadline_clockwork import run_clockwork as run_clockwork
from .deadline_notices import send_deadline_notice as send_deadline_notice
from .due_times import restate_deadline as restate_deadline
from .settling_task import settle_after_act as settle_after_act
