from .console_mailbox import ConsoleMailbox as ConsoleMailbox
from .fetch_agent import FetchAgent as FetchAgent
from .fetch_agent import list_recurring_fetches as list_recurring_fetches
from .local_agent import LocalAgent as LocalAgent
from .msh_agent import MshAgent as MshAgent
from .partner_agent import PartnerAgent as PartnerAgent
from .time_stamp_agent import TimeStampAgent as TimeStampAgent
from .time_stamp_agent import TimeStampPolicy as TimeStampPolicy
