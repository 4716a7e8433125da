/** What each transport is, and each earlier client: shown beside its lane. */

import { language } from "./settings.ts";

export interface Explanation {
  readonly name: string;
  readonly tagline: string;
  readonly how: string;
  readonly costs: string;
  readonly choose: string;
  readonly proxies: string;
}

/** In the order in which they are shown: from asking to being told. */
export const TRANSPORTS = [
  "shortpolling",
  "polling",
  "jsonp",
  "multipart",
  "iframe",
  "sse",
  "websocket",
  "flashsocket",
  "webtransport",
] as const;

export type TransportName = (typeof TRANSPORTS)[number];

/** Clients of earlier releases, the newest first, each by its ways to connect. */
export const EARLIER = [
  "v2-polling",
  "v2-websocket",
  "v2-upgrade",
  "v1-polling",
  "v1-websocket",
  "v1-upgrade",
  "v0-polling",
  "v0-jsonp",
  "v0-websocket",
] as const;

export const LANES: readonly string[] = [...TRANSPORTS, ...EARLIER];

type Release = "v0" | "v1" | "v2";
type EarlierWay = "polling" | "jsonp" | "websocket" | "upgrade";

const RELEASES: Record<Release, { readonly short: string; readonly client: string; readonly protocol: string }> = {
  v2: { short: "2.5", client: "socket.io-client 2.5.0", protocol: "Engine.IO 3" },
  v1: { short: "1.7", client: "socket.io-client 1.7.4", protocol: "Engine.IO 3" },
  v0: { short: "0.9", client: "socket.io-client 0.9.17", protocol: "Socket.IO 1" },
};

/** How an earlier client differs from that of today. */
interface Difference {
  readonly how: string;
  readonly costs: string;
  readonly choose: string;
}

/** The way that is a lane's, without the release: as a transport is called. */
export function wayOf(name: string): string {
  return name.replace(/^v[0-9]-/, "");
}

const en: Record<TransportName, Explanation> = {
  shortpolling: {
    name: "Short polling",
    tagline: "Anything new? Anything new?",
    how: "The page asks at an interval, whether there is news or not. The server answers at once: with what has piled up, or with nothing. Between two questions, an event has to wait.",
    costs: "A whole request with all its headers for every question, and most answers are empty. An event waits for half the interval on average.",
    choose: "When news may be some seconds old, or where nothing may be held open: strict gateways, metered back ends.",
    proxies: "Behind every proxy. To them it is ordinary HTTP.",
  },
  polling: {
    name: "Long polling",
    tagline: "Tell me when there is something.",
    how: "The page asks, and the server holds the question until there is an event or the time is up. The answer leaves the moment something happens, and the page asks again at once. What happens between an answer and the next question waits, and travels together.",
    costs: "A request with its headers for each event or handful of events. While a question is on its way back, an event waits for up to a round trip.",
    choose: "To begin with, always: it works nearly everywhere. Socket.IO starts with it and upgrades from there.",
    proxies: "Behind nearly every proxy, as long as its read timeout is longer than the heartbeat’s interval.",
  },
  jsonp: {
    name: "JSONP polling",
    tagline: "The answer is a script.",
    how: "A script element loads the answer, which is a call of a function with the events as its argument. The server holds the question as in long polling. What the page has to say goes by a form in a hidden frame.",
    costs: "What long polling costs, and text escaped for scripts, bytes as base64, a new script element for each answer.",
    choose: "For browsers that can’t make requests across origins, which is all before 2009. Today: to see how it was done.",
    proxies: "As long polling. To a proxy it is a script that takes its time to load.",
  },
  multipart: {
    name: "Multipart streaming",
    tagline: "One response, part after part.",
    how: "One question gets a response that doesn’t end: multipart/x-mixed-replace, cut into parts by a boundary. Each event is a part, and bytes travel as they are. What the page has to say goes by POST.",
    costs: "Some ninety bytes of boundary and part headers for each event down, and no more questions. Each event up is a request.",
    choose: "When much binary comes down, and there is no WebSocket.",
    proxies: "A proxy that buffers holds everything back. Madang asks nginx not to (X-Accel-Buffering). HAProxy holds each event back for 0.2 s, unless it is told not to (option http-no-delay).",
  },
  iframe: {
    name: "Forever iframe",
    tagline: "A page that never finishes loading.",
    how: "A hidden frame loads a document that doesn’t end. Each event is a small script in it, which runs as it arrives and hands the event over. What the page has to say goes by POST.",
    costs: "A script tag around each event, escaped text, base64 for bytes, and padding at the beginning. The document grows until it is begun anew.",
    choose: "For browsers from before EventSource. This is what was called Comet in 2006.",
    proxies: "As every stream: held back by what buffers, and for 0.2 s by HAProxy as it comes. The padding gets it past those that wait for a first kilobyte or two.",
  },
  sse: {
    name: "Server-Sent Events",
    tagline: "One open response, made for it.",
    how: "One question, and the response stays open. Each event is a few lines of text in the web’s own format for this, text/event-stream. What the page has to say goes by POST.",
    costs: "A handful of bytes around each event down; each event up is a request. Over HTTP/1.1 it takes one of the six connections that a browser allows.",
    choose: "When nearly everything flows from server to page: feeds, dashboards, progress. And where WebSocket is blocked.",
    proxies: "nginx passes it on at once; HAProxy as it comes makes each event 0.2 s late (option http-no-delay helps). Others that buffer have to be told. Heartbeats keep idle timeouts away.",
  },
  websocket: {
    name: "WebSocket",
    tagline: "A line that belongs to both.",
    how: "One HTTP request asks to change the protocol. From then on, both sides speak on that connection when they like. Each event is a frame with a header of 2 to 14 bytes: no questions, no answers.",
    costs: "The fewest bytes, and little work for the server. One connection stays open for each client.",
    choose: "Whenever it gets through, and above all when both sides have a lot to say: chats, games, editors.",
    proxies: "The proxy has to pass on Upgrade: nginx as it comes doesn’t and needs a few lines, HAProxy none. Some office networks block it without TLS.",
  },
  flashsocket: {
    name: "FlashSocket",
    tagline: "A film that opened sockets.",
    how: "A small Flash film first asked for a policy file that says who may connect. Then it opened a TCP connection and spoke an early WebSocket. That dialect knew text only, so bytes travelled as base64.",
    costs: "A plug-in, a port for policies, base64 for bytes. Per event it was as cheap as WebSocket.",
    choose: "Never today; Madang speaks it so that what is old still connects.",
    proxies: "nginx passes it on where it passes on WebSocket; HAProxy refuses it. The policy file has a port of its own, which has to be open.",
  },
  webtransport: {
    name: "WebTransport",
    tagline: "HTTP/3: streams over UDP.",
    how: "The connection is QUIC: encrypted packets over UDP, with HTTP/3 on top. One stream both ways in it carries the events. A change from Wi-Fi to mobile doesn’t have to break it.",
    costs: "Few bytes for each event, but packets to encrypt and acknowledge, which the server does itself and not the kernel: more of its processor.",
    choose: "On networks that lose packets or change; as an upgrade, since it isn’t everywhere.",
    proxies: "UDP has to get through, and most HTTP proxies don’t carry it. Then Socket.IO stays with what it has.",
  },
};

const enEarlier: Record<Release, Difference> = {
  v2: {
    how: "The last of its line, from 2017 to 2022. Its heartbeat goes the other way round: the client sends the ping, and the server answers. In the body of a poll, each packet has its length in front of it, and bytes travel as they are. Everybody is in the main namespace without asking.",
    costs: "Nearly what it costs today. It knows no auth, so the lane’s key stands in the query of each request. And no recovery: what is said while it is away is gone.",
    choose: "For programs that can’t be given a newer client. Whoever can move loses nothing by it.",
  },
  v1: {
    how: "From 2014 to 2017, of the same generation as 2.5: the client pings, each packet has its length in front. But it posts every poll as bytes, before which a browser asks across origins whether it may; and where it can’t take bytes, it writes text as UTF-8 twice. Madang reads both, and answers in what all releases understand.",
    costs: "What 2.5 costs, and now and then a preflight before a post. The key stands in the query here too, and nothing is recovered.",
    choose: "For what was built in those years and can’t be rebuilt: kiosks, set-top boxes, panels.",
  },
  v0: {
    how: "From 2011 to 2014, before Engine.IO. It asks once which transports there are, takes one, and stays with it: the transport’s name stands in the path, not in the query. A message is 5:::{…}: a kind, a number, a namespace, JSON. Of several in one body, each has its length between two characters that exist for nothing else (U+FFFD).",
    costs: "The name of the event and its arguments are written out in an object, and its query comes with each request. It knows no bytes: they are base64 in a string, a third larger.",
    choose: "For what has been in the field since then. Reasons of a refusal don’t reach it, and nothing is recovered.",
  },
};

const enWays: Record<EarlierWay, string> = {
  polling: "Long polling",
  jsonp: "JSONP polling",
  websocket: "WebSocket",
  upgrade: "Upgrade",
};

const ko: Record<TransportName, Explanation> = {
  shortpolling: {
    name: "숏 폴링",
    tagline: "새 소식 있어요? 지금은요?",
    how: "새 소식이 있든 없든 브라우저가 일정한 간격으로 물어봐요. 서버는 그동안 쌓인 것을, 없으면 빈 응답을 바로 돌려줘요. 질문과 질문 사이에 생긴 이벤트는 다음 질문이 올 때까지 기다려야 해요.",
    costs: "물을 때마다 헤더까지 갖춘 요청이 통째로 오가는데, 대부분은 빈 응답이에요. 이벤트는 평균적으로 간격의 절반만큼 늦어져요.",
    choose: "몇 초쯤 늦어도 괜찮을 때, 또는 연결을 붙잡아 둘 수 없는 환경에서 골라요.",
    proxies: "어떤 프록시 뒤에서도 잘 돼요. 프록시에게는 평범한 HTTP일 뿐이니까요.",
  },
  polling: {
    name: "롱 폴링",
    tagline: "생기면 알려 주세요.",
    how: "브라우저가 물으면 서버는 이벤트가 생기거나 시간이 다 될 때까지 답을 미뤄 둬요. 이벤트가 생기는 순간 답이 나가고, 브라우저는 곧바로 다시 물어요. 답이 가고 다음 질문이 오는 사이에 생긴 이벤트는 모아서 한꺼번에 보내요.",
    costs: "이벤트 하나 또는 한 묶음마다 요청과 헤더가 한 벌씩 들어요. 질문이 돌아오는 동안 생긴 이벤트는 길면 왕복 시간만큼 기다려요.",
    choose: "처음 연결할 때는 언제나 이것으로 시작해요. 거의 어디서나 되고, Socket.IO도 여기서 시작해 더 나은 방식으로 갈아타요.",
    proxies: "거의 모든 프록시 뒤에서 돼요. 프록시의 읽기 제한 시간이 하트비트 간격보다 길기만 하면 돼요.",
  },
  jsonp: {
    name: "JSONP 폴링",
    tagline: "답이 곧 스크립트예요.",
    how: "script 요소로 답을 불러와요. 그 답은 이벤트를 인수로 담은 함수 호출이에요. 서버는 롱 폴링처럼 답을 미뤄 두고, 브라우저가 할 말은 숨은 프레임 속의 폼으로 보내요.",
    costs: "롱 폴링만큼 들고, 여기에 이스케이프한 텍스트, base64로 바꾼 바이트, 답마다 새로 만드는 script 요소가 더해져요.",
    choose: "다른 출처로 요청을 보내지 못하던 2009년 이전 브라우저를 위한 방식이에요. 지금은 옛날에 어떻게 했는지 보여 줄 때 써요.",
    proxies: "롱 폴링과 같아요. 프록시에게는 조금 천천히 받아지는 스크립트로 보여요.",
  },
  multipart: {
    name: "멀티파트 스트리밍",
    tagline: "끝나지 않는 응답, 한 조각씩.",
    how: "한 번 물으면 끝나지 않는 응답(multipart/x-mixed-replace)이 와요. 경계선으로 나뉜 조각 하나가 이벤트 하나이고, 바이너리는 있는 그대로 담겨요. 브라우저가 할 말은 POST로 보내요.",
    costs: "내려오는 이벤트마다 경계선과 조각 헤더로 90바이트쯤 들지만 다시 물을 필요는 없어요. 올라가는 이벤트는 하나하나가 요청이에요.",
    choose: "웹소켓을 쓸 수 없는데 바이너리가 많이 내려올 때 골라요.",
    proxies: "버퍼링하는 프록시는 조각을 쥐고 놓아 주지 않아요. nginx에는 마당이 X-Accel-Buffering으로 미리 부탁해 둬요. HAProxy는 기본 설정에서 이벤트마다 0.2초씩 붙잡아 두므로 option http-no-delay가 필요해요.",
  },
  iframe: {
    name: "포에버 아이프레임",
    tagline: "영원히 로딩 중인 페이지.",
    how: "숨은 프레임이 끝나지 않는 문서를 불러와요. 이벤트 하나가 작은 스크립트 하나이고, 도착하는 대로 실행되어 이벤트를 건네줘요. 브라우저가 할 말은 POST로 보내요.",
    costs: "이벤트마다 script 태그가 붙고, 텍스트는 이스케이프하고, 바이트는 base64로 바꾸고, 처음에는 빈칸도 채워 보내요. 문서가 계속 커지므로 가끔 새로 시작해요.",
    choose: "EventSource가 나오기 전의 브라우저를 위한 방식이에요. 2006년에 ‘코멧(Comet)’이라 부르던 것이 이거예요.",
    proxies: "다른 스트림처럼 버퍼링하는 프록시에 약하고, 기본 설정의 HAProxy에서는 0.2초씩 늦어요. 처음 1~2킬로바이트가 찰 때까지 기다리는 프록시는 앞에 채운 빈칸 덕분에 지나갈 수 있어요.",
  },
  sse: {
    name: "서버 전송 이벤트(SSE)",
    tagline: "이런 일을 위해 만든, 열린 응답.",
    how: "한 번 물으면 응답이 열린 채로 있어요. 이벤트는 웹 표준 형식인 text/event-stream에 맞춘 몇 줄의 텍스트예요. 브라우저가 할 말은 POST로 보내요.",
    costs: "내려오는 이벤트에는 몇 바이트만 붙고, 올라가는 이벤트는 하나하나가 요청이에요. HTTP/1.1에서는 브라우저가 허락하는 연결 여섯 개 가운데 하나를 차지해요.",
    choose: "피드, 대시보드, 진행 상황처럼 거의 모든 것이 서버에서 내려올 때, 그리고 웹소켓이 막혀 있을 때 골라요.",
    proxies: "nginx는 바로바로 전해 줘요. 기본 설정의 HAProxy는 이벤트마다 0.2초씩 늦어지는데 option http-no-delay로 풀려요. 그 밖에 버퍼링하는 프록시는 설정이 필요하고, 조용할 때 끊기는 일은 하트비트가 막아 줘요.",
  },
  websocket: {
    name: "웹소켓",
    tagline: "둘이 함께 쓰는 직통선.",
    how: "HTTP 요청 하나로 프로토콜을 바꾸자고 해요. 그다음부터는 그 연결에서 양쪽이 언제든 말할 수 있어요. 이벤트 하나가 프레임 하나이고 헤더는 2~14바이트뿐이라, 질문도 대답도 필요 없어요.",
    costs: "오가는 바이트가 가장 적고 서버가 할 일도 적어요. 대신 접속자마다 연결 하나가 열려 있어요.",
    choose: "통하기만 하면 언제나 좋아요. 채팅, 게임, 공동 편집처럼 양쪽 모두 할 말이 많을 때 특히 그래요.",
    proxies: "프록시가 Upgrade 헤더를 전해 줘야 해요. nginx는 기본 설정으로는 전하지 않아 몇 줄을 더해야 하고, HAProxy는 그대로 돼요. TLS가 아니면 막는 사내망도 있어요.",
  },
  flashsocket: {
    name: "플래시소켓",
    tagline: "소켓을 열던 플래시 무비.",
    how: "작은 플래시 무비가 먼저 누가 접속해도 되는지 적힌 정책 파일을 받아 와요. 그다음 TCP 연결을 열고 초기 웹소켓으로 말해요. 그 시절 규격은 텍스트만 알아서 바이트는 base64로 오갔어요.",
    costs: "플러그인과 정책 파일용 포트가 필요하고 바이트는 base64로 늘어나요. 이벤트 하나에 드는 값은 웹소켓만큼 쌌어요.",
    choose: "지금 고를 일은 없어요. 오래된 클라이언트도 접속할 수 있도록 마당이 알아들을 뿐이에요.",
    proxies: "웹소켓을 전해 주도록 설정한 nginx는 지나가지만 HAProxy는 거절해요. 정책 파일을 주는 포트도 따로 열려 있어야 해요.",
  },
  webtransport: {
    name: "웹트랜스포트",
    tagline: "HTTP/3, UDP 위의 스트림.",
    how: "연결은 QUIC이에요. 암호화한 패킷을 UDP로 주고받고 그 위에서 HTTP/3이 움직여요. 그 안의 양방향 스트림 하나가 이벤트를 날라요. 와이파이에서 이동통신으로 바뀌어도 연결을 이어 갈 수 있는 구조예요.",
    costs: "이벤트에 붙는 바이트는 적지만, 패킷을 암호화하고 수신을 확인하는 일을 커널이 아니라 서버 프로그램이 직접 해서 CPU를 더 써요.",
    choose: "패킷이 자주 사라지거나 자주 바뀌는 네트워크에서 골라요. 아직 어디서나 되는 건 아니라서 갈아타는 대상으로 두는 게 좋아요.",
    proxies: "UDP가 통해야 하는데 대부분의 HTTP 프록시는 나르지 못해요. 그럴 때 Socket.IO는 쓰던 방식을 그대로 써요.",
  },
};

const koEarlier: Record<Release, Difference> = {
  v2: {
    how: "2017년부터 2022년까지 나온, 이 계열의 마지막 버전이에요. 하트비트 방향이 지금과 반대라서 클라이언트가 핑을 보내고 서버가 답해요. 폴링 본문에서는 패킷마다 길이가 앞에 붙고, 바이트는 있는 그대로 담겨요. 묻지 않아도 모두가 기본 네임스페이스에 들어와 있어요.",
    costs: "지금 클라이언트와 거의 같아요. auth를 몰라서 레인의 열쇠가 요청마다 쿼리에 실려요. 복구 기능도 없어서 끊겨 있는 동안 오간 말은 받지 못해요.",
    choose: "클라이언트를 바꿀 수 없는 프로그램을 위해 남겨 두었어요. 바꿀 수 있다면 새 버전으로 옮겨서 잃을 것은 없어요.",
  },
  v1: {
    how: "2014년부터 2017년까지 나왔고 2.5와 같은 세대예요. 클라이언트가 핑을 보내고 패킷마다 길이가 붙어요. 다만 폴링으로 보낼 때는 늘 바이트로 보내기 때문에, 출처가 다르면 브라우저가 보내도 되는지 먼저 물어봐요. 바이트를 받지 못하는 곳에서는 텍스트를 UTF-8로 두 번 인코딩하고요. 마당은 둘 다 알아듣고, 모든 버전이 이해하는 꼴로 답해요.",
    costs: "2.5만큼 들고, 보내기 전에 가끔 프리플라이트가 더해져요. 열쇠가 쿼리에 실리는 것도, 복구가 안 되는 것도 같아요.",
    choose: "그 무렵에 만들어져 다시 만들 수 없는 것들을 위해서예요. 키오스크, 셋톱박스, 공장의 패널 같은 것들이요.",
  },
  v0: {
    how: "2011년부터 2014년까지, Engine.IO가 생기기 전의 버전이에요. 어떤 전송 방식이 있는지 처음에 한 번 묻고 하나를 골라 끝까지 써요. 전송 방식 이름은 쿼리가 아니라 경로에 들어가요. 메시지는 5:::{…} 꼴로 종류, 번호, 네임스페이스, JSON 순서예요. 한 본문에 여러 개가 담길 때는 다른 데 쓰지 않는 글자(U+FFFD) 두 개 사이에 길이를 적어요.",
    costs: "이벤트 이름과 인수를 객체로 풀어 쓰고, 쿼리도 요청마다 따라와요. 바이트를 몰라서 base64 문자열로 바꾸느라 3분의 1만큼 커져요.",
    choose: "그때부터 현장에서 돌고 있는 것들을 위해서예요. 거절당한 이유는 전해지지 않고 복구도 되지 않아요.",
  },
};

const koWays: Record<EarlierWay, string> = {
  polling: "롱 폴링",
  jsonp: "JSONP 폴링",
  websocket: "웹소켓",
  upgrade: "업그레이드",
};

const all = { en, ko };
const allEarlier = { en: enEarlier, ko: koEarlier };
const allWays = { en: enWays, ko: koWays };

export function explanation(name: string): Explanation {
  const way = wayOf(name);
  if (way !== name) return earlierExplanation(name.slice(0, 2) as Release, way as EarlierWay);
  const known = all[language.value][name as TransportName];
  return known ?? { name, tagline: "", how: "", costs: "", choose: "", proxies: "" };
}

/** What there is to say of its release; behind proxies, all that goes by HTTP is alike. */
function earlierExplanation(release: Release, way: EarlierWay): Explanation {
  const { short, client, protocol } = RELEASES[release];
  const proxies = all[language.value][way === "upgrade" ? "polling" : way].proxies;
  return {
    ...allEarlier[language.value][release],
    name: `${short}\u00a0· ${allWays[language.value][way]}`,
    tagline: `${client}\u00a0· ${protocol}`,
    proxies,
  };
}
