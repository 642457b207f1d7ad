-- A customer of an organisation. organisation_id leads every key, so the table can be distributed by it.

-- Substring search by trigrams; organisation_id and the trigrams in one index.
create extension if not exists pg_trgm;
create extension if not exists btree_gin;

-- lower() of all letters, whatever the database's locale and provider are. The pairs are those of Unicode 17, as Rust's standard
-- library has them. translate() searches its list for each character, so the list is divided, and most texts need none.
create function unicode_lower(given text) returns text
language plpgsql immutable strict parallel safe as $$
declare
  v text collate "C" := lower(given collate "C");
begin
  if octet_length(v) = char_length(v) then
    return v;
  end if;
  -- Latin.
  if v ~ '[\u00c0-\u024f\u1e00-\u1eff]' then
    v := translate(v,
      'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮİĲĴĶĹĻĽĿŁŃŅŇŊŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽƁƂƄƆƇƉƊ'
        || 'ƋƎƏƐƑƓƔƖƗƘƜƝƟƠƢƤƦƧƩƬƮƯƱƲƳƵƷƸƼǄǅǇǈǊǋǍǏǑǓǕǗǙǛǞǠǢǤǦǨǪǬǮǱǲǴǶǷǸǺǼǾȀȂȄȆȈȊȌȎȐȒȔȖȘȚȜȞȠȢȤȦȨȪȬȮȰȲȺȻȽȾɁɃɄɅɆɈɊɌɎ'
        || 'ḀḂḄḆḈḊḌḎḐḒḔḖḘḚḜḞḠḢḤḦḨḪḬḮḰḲḴḶḸḺḼḾṀṂṄṆṈṊṌṎṐṒṔṖṘṚṜṞṠṢṤṦṨṪṬṮṰṲṴṶṸṺṼṾẀẂẄẆẈẊẌẎẐẒẔẞẠẢẤẦẨẪẬẮẰẲẴẶẸẺẼẾỀỂỄỆỈỊỌỎ'
        || 'ỐỒỔỖỘỚỜỞỠỢỤỦỨỪỬỮỰỲỴỶỸỺỼỾ',
      'àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįiĳĵķĺļľŀłńņňŋōŏőœŕŗřśŝşšţťŧũūŭůűųŵŷÿźżžɓƃƅɔƈɖɗ'
        || 'ƌǝəɛƒɠɣɩɨƙɯɲɵơƣƥʀƨʃƭʈưʊʋƴƶʒƹƽǆǆǉǉǌǌǎǐǒǔǖǘǚǜǟǡǣǥǧǩǫǭǯǳǳǵƕƿǹǻǽǿȁȃȅȇȉȋȍȏȑȓȕȗșțȝȟƞȣȥȧȩȫȭȯȱȳⱥȼƚⱦɂƀʉʌɇɉɋɍɏ'
        || 'ḁḃḅḇḉḋḍḏḑḓḕḗḙḛḝḟḡḣḥḧḩḫḭḯḱḳḵḷḹḻḽḿṁṃṅṇṉṋṍṏṑṓṕṗṙṛṝṟṡṣṥṧṩṫṭṯṱṳṵṷṹṻṽṿẁẃẅẇẉẋẍẏẑẓẕßạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏ'
        || 'ốồổỗộớờởỡợụủứừửữựỳỵỷỹỻỽỿ'
    );
  end if;
  -- Greek.
  if v ~ '[\u0370-\u03ff\u1f00-\u1fff]' then
    v := translate(v,
      'ͰͲͶͿΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫϏϘϚϜϞϠϢϤϦϨϪϬϮϴϷϹϺϽϾϿἈἉἊἋἌἍἎἏἘἙἚἛἜἝἨἩἪἫἬἭἮἯἸἹἺἻἼἽἾἿὈὉὊὋὌὍὙὛὝὟὨὩὪ'
        || 'ὫὬὭὮὯᾈᾉᾊᾋᾌᾍᾎᾏᾘᾙᾚᾛᾜᾝᾞᾟᾨᾩᾪᾫᾬᾭᾮᾯᾸᾹᾺΆᾼῈΈῊΉῌῘῙῚΊῨῩῪΎῬῸΌῺΏῼ',
      'ͱͳͷϳάέήίόύώαβγδεζηθικλμνξοπρστυφχψωϊϋϗϙϛϝϟϡϣϥϧϩϫϭϯθϸϲϻͻͼͽἀἁἂἃἄἅἆἇἐἑἒἓἔἕἠἡἢἣἤἥἦἧἰἱἲἳἴἵἶἷὀὁὂὃὄὅὑὓὕὗὠὡὢ'
        || 'ὣὤὥὦὧᾀᾁᾂᾃᾄᾅᾆᾇᾐᾑᾒᾓᾔᾕᾖᾗᾠᾡᾢᾣᾤᾥᾦᾧᾰᾱὰάᾳὲέὴήῃῐῑὶίῠῡὺύῥὸόὼώῳ'
    );
  end if;
  -- Cyrillic, of Slavic languages.
  if v ~ '[\u0400-\u042f]' then
    v := translate(v,
      'ЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ',
      'ѐёђѓєѕіїјљњћќѝўџабвгдежзийклмнопрстуфхцчшщъыьэюя'
    );
  end if;
  -- Cyrillic, of other languages.
  if v ~ '[\u0460-\u052f]' then
    v := translate(v,
      'ѠѢѤѦѨѪѬѮѰѲѴѶѸѺѼѾҀҊҌҎҐҒҔҖҘҚҜҞҠҢҤҦҨҪҬҮҰҲҴҶҸҺҼҾӀӁӃӅӇӉӋӍӐӒӔӖӘӚӜӞӠӢӤӦӨӪӬӮӰӲӴӶӸӺӼӾԀԂԄԆԈԊԌԎԐԒԔԖԘԚԜԞԠԢԤԦԨԪԬԮ',
      'ѡѣѥѧѩѫѭѯѱѳѵѷѹѻѽѿҁҋҍҏґғҕҗҙқҝҟҡңҥҧҩҫҭүұҳҵҷҹһҽҿӏӂӄӆӈӊӌӎӑӓӕӗәӛӝӟӡӣӥӧөӫӭӯӱӳӵӷӹӻӽӿԁԃԅԇԉԋԍԏԑԓԕԗԙԛԝԟԡԣԥԧԩԫԭԯ'
    );
  end if;
  -- Armenian and Georgian.
  if v ~ '[\u0531-\u0556\u10a0-\u10cf\u1c90-\u1cbf]' then
    v := translate(v,
      'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖႠႡႢႣႤႥႦႧႨႩႪႫႬႭႮႯႰႱႲႳႴႵႶႷႸႹႺႻႼႽႾႿჀჁჂჃჄჅჇჍᲐᲑᲒᲓᲔᲕᲖᲗᲘᲙᲚᲛᲜᲝᲞᲟᲠᲡᲢᲣᲤᲥ'
        || 'ᲦᲧᲨᲩᲪᲫᲬᲭᲮᲯᲰᲱᲲᲳᲴᲵᲶᲷᲸᲹᲺᲽᲾᲿ',
      'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆⴀⴁⴂⴃⴄⴅⴆⴇⴈⴉⴊⴋⴌⴍⴎⴏⴐⴑⴒⴓⴔⴕⴖⴗⴘⴙⴚⴛⴜⴝⴞⴟⴠⴡⴢⴣⴤⴥⴧⴭაბგდევზთიკლმნოპჟრსტუფქ'
        || 'ღყშჩცძწჭხჯჰჱჲჳჴჵჶჷჸჹჺჽჾჿ'
    );
  end if;
  -- All others.
  if v ~ '[\u13a0-\u13f5\u1c89\u2126-\u24cf\u2c00-\u2cff\ua640-\ua7ff\uff21-\uff3a\U00010400-\U0001e921]' then
    v := translate(v,
      'ᎠᎡᎢᎣᎤᎥᎦᎧᎨᎩᎪᎫᎬᎭᎮᎯᎰᎱᎲᎳᎴᎵᎶᎷᎸᎹᎺᎻᎼᎽᎾᎿᏀᏁᏂᏃᏄᏅᏆᏇᏈᏉᏊᏋᏌᏍᏎᏏᏐᏑᏒᏓᏔᏕᏖᏗᏘᏙᏚᏛᏜᏝᏞᏟᏠᏡᏢᏣᏤᏥᏦᏧᏨᏩᏪᏫᏬᏭᏮᏯᏰᏱᏲᏳᏴᏵᲉΩKÅℲⅠⅡⅢⅣⅤⅥⅦⅧⅨ'
        || 'ⅩⅪⅫⅬⅭⅮⅯↃⒶⒷⒸⒹⒺⒻⒼⒽⒾⒿⓀⓁⓂⓃⓄⓅⓆⓇⓈⓉⓊⓋⓌⓍⓎⓏⰀⰁⰂⰃⰄⰅⰆⰇⰈⰉⰊⰋⰌⰍⰎⰏⰐⰑⰒⰓⰔⰕⰖⰗⰘⰙⰚⰛⰜⰝⰞⰟⰠⰡⰢⰣⰤⰥⰦⰧⰨⰩⰪⰫⰬⰭⰮⰯⱠⱢⱣⱤⱧⱩⱫⱭⱮⱯⱰⱲⱵⱾⱿⲀⲂⲄ'
        || 'ⲆⲈⲊⲌⲎⲐⲒⲔⲖⲘⲚⲜⲞⲠⲢⲤⲦⲨⲪⲬⲮⲰⲲⲴⲶⲸⲺⲼⲾⳀⳂⳄⳆⳈⳊⳌⳎⳐⳒⳔⳖⳘⳚⳜⳞⳠⳢⳫⳭⳲꙀꙂꙄꙆꙈꙊꙌꙎꙐꙒꙔꙖꙘꙚꙜꙞꙠꙢꙤꙦꙨꙪꙬꚀꚂꚄꚆꚈꚊꚌꚎꚐꚒꚔꚖꚘꚚꜢꜤꜦꜨꜪꜬꜮꜲꜴꜶꜸꜺꜼ'
        || 'ꜾꝀꝂꝄꝆꝈꝊꝌꝎꝐꝒꝔꝖꝘꝚꝜꝞꝠꝢꝤꝦꝨꝪꝬꝮꝹꝻꝽꝾꞀꞂꞄꞆꞋꞍꞐꞒꞖꞘꞚꞜꞞꞠꞢꞤꞦꞨꞪꞫꞬꞭꞮꞰꞱꞲꞳꞴꞶꞸꞺꞼꞾꟀꟂꟄꟅꟆꟇꟉꟋꟌ꟎Ꟑ꟒꟔ꟖꟘꟚꟜꟵＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴ'
        || 'ＵＶＷＸＹＺ𐐀𐐁𐐂𐐃𐐄𐐅𐐆𐐇𐐈𐐉𐐊𐐋𐐌𐐍𐐎𐐏𐐐𐐑𐐒𐐓𐐔𐐕𐐖𐐗𐐘𐐙𐐚𐐛𐐜𐐝𐐞𐐟𐐠𐐡𐐢𐐣𐐤𐐥𐐦𐐧𐒰𐒱𐒲𐒳𐒴𐒵𐒶𐒷𐒸𐒹𐒺𐒻𐒼𐒽𐒾𐒿𐓀𐓁𐓂𐓃𐓄𐓅𐓆𐓇𐓈𐓉𐓊𐓋𐓌𐓍𐓎𐓏𐓐𐓑𐓒𐓓𐕰𐕱𐕲𐕳𐕴𐕵𐕶𐕷𐕸𐕹𐕺𐕼𐕽𐕾𐕿𐖀𐖁𐖂'
        || '𐖃𐖄𐖅𐖆𐖇𐖈𐖉𐖊𐖌𐖍𐖎𐖏𐖐𐖑𐖒𐖔𐖕𐲀𐲁𐲂𐲃𐲄𐲅𐲆𐲇𐲈𐲉𐲊𐲋𐲌𐲍𐲎𐲏𐲐𐲑𐲒𐲓𐲔𐲕𐲖𐲗𐲘𐲙𐲚𐲛𐲜𐲝𐲞𐲟𐲠𐲡𐲢𐲣𐲤𐲥𐲦𐲧𐲨𐲩𐲪𐲫𐲬𐲭𐲮𐲯𐲰𐲱𐲲𐵐𐵑𐵒𐵓𐵔𐵕𐵖𐵗𐵘𐵙𐵚𐵛𐵜𐵝𐵞𐵟𐵠𐵡𐵢𐵣𐵤𐵥𑢠𑢡𑢢𑢣𑢤𑢥𑢦𑢧𑢨𑢩'
        || '𑢪𑢫𑢬𑢭𑢮𑢯𑢰𑢱𑢲𑢳𑢴𑢵𑢶𑢷𑢸𑢹𑢺𑢻𑢼𑢽𑢾𑢿𖹀𖹁𖹂𖹃𖹄𖹅𖹆𖹇𖹈𖹉𖹊𖹋𖹌𖹍𖹎𖹏𖹐𖹑𖹒𖹓𖹔𖹕𖹖𖹗𖹘𖹙𖹚𖹛𖹜𖹝𖹞𖹟𖺠𖺡𖺢𖺣𖺤𖺥𖺦𖺧𖺨𖺩𖺪𖺫𖺬𖺭𖺮𖺯𖺰𖺱𖺲𖺳𖺴𖺵𖺶𖺷𖺸𞤀𞤁𞤂𞤃𞤄𞤅𞤆𞤇𞤈𞤉𞤊𞤋𞤌𞤍𞤎𞤏𞤐𞤑𞤒𞤓𞤔'
        || '𞤕𞤖𞤗𞤘𞤙𞤚𞤛𞤜𞤝𞤞𞤟𞤠𞤡',
      'ꭰꭱꭲꭳꭴꭵꭶꭷꭸꭹꭺꭻꭼꭽꭾꭿꮀꮁꮂꮃꮄꮅꮆꮇꮈꮉꮊꮋꮌꮍꮎꮏꮐꮑꮒꮓꮔꮕꮖꮗꮘꮙꮚꮛꮜꮝꮞꮟꮠꮡꮢꮣꮤꮥꮦꮧꮨꮩꮪꮫꮬꮭꮮꮯꮰꮱꮲꮳꮴꮵꮶꮷꮸꮹꮺꮻꮼꮽꮾꮿᏸᏹᏺᏻᏼᏽᲊωkåⅎⅰⅱⅲⅳⅴⅵⅶⅷⅸ'
        || 'ⅹⅺⅻⅼⅽⅾⅿↄⓐⓑⓒⓓⓔⓕⓖⓗⓘⓙⓚⓛⓜⓝⓞⓟⓠⓡⓢⓣⓤⓥⓦⓧⓨⓩⰰⰱⰲⰳⰴⰵⰶⰷⰸⰹⰺⰻⰼⰽⰾⰿⱀⱁⱂⱃⱄⱅⱆⱇⱈⱉⱊⱋⱌⱍⱎⱏⱐⱑⱒⱓⱔⱕⱖⱗⱘⱙⱚⱛⱜⱝⱞⱟⱡɫᵽɽⱨⱪⱬɑɱɐɒⱳⱶȿɀⲁⲃⲅ'
        || 'ⲇⲉⲋⲍⲏⲑⲓⲕⲗⲙⲛⲝⲟⲡⲣⲥⲧⲩⲫⲭⲯⲱⲳⲵⲷⲹⲻⲽⲿⳁⳃⳅⳇⳉⳋⳍⳏⳑⳓⳕⳗⳙⳛⳝⳟⳡⳣⳬⳮⳳꙁꙃꙅꙇꙉꙋꙍꙏꙑꙓꙕꙗꙙꙛꙝꙟꙡꙣꙥꙧꙩꙫꙭꚁꚃꚅꚇꚉꚋꚍꚏꚑꚓꚕꚗꚙꚛꜣꜥꜧꜩꜫꜭꜯꜳꜵꜷꜹꜻꜽ'
        || 'ꜿꝁꝃꝅꝇꝉꝋꝍꝏꝑꝓꝕꝗꝙꝛꝝꝟꝡꝣꝥꝧꝩꝫꝭꝯꝺꝼᵹꝿꞁꞃꞅꞇꞌɥꞑꞓꞗꞙꞛꞝꞟꞡꞣꞥꞧꞩɦɜɡɬɪʞʇʝꭓꞵꞷꞹꞻꞽꞿꟁꟃꞔʂᶎꟈꟊɤꟍ꟏ꟑꟓꟕꟗꟙꟛƛꟶａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔ'
        || 'ｕｖｗｘｙｚ𐐨𐐩𐐪𐐫𐐬𐐭𐐮𐐯𐐰𐐱𐐲𐐳𐐴𐐵𐐶𐐷𐐸𐐹𐐺𐐻𐐼𐐽𐐾𐐿𐑀𐑁𐑂𐑃𐑄𐑅𐑆𐑇𐑈𐑉𐑊𐑋𐑌𐑍𐑎𐑏𐓘𐓙𐓚𐓛𐓜𐓝𐓞𐓟𐓠𐓡𐓢𐓣𐓤𐓥𐓦𐓧𐓨𐓩𐓪𐓫𐓬𐓭𐓮𐓯𐓰𐓱𐓲𐓳𐓴𐓵𐓶𐓷𐓸𐓹𐓺𐓻𐖗𐖘𐖙𐖚𐖛𐖜𐖝𐖞𐖟𐖠𐖡𐖣𐖤𐖥𐖦𐖧𐖨𐖩'
        || '𐖪𐖫𐖬𐖭𐖮𐖯𐖰𐖱𐖳𐖴𐖵𐖶𐖷𐖸𐖹𐖻𐖼𐳀𐳁𐳂𐳃𐳄𐳅𐳆𐳇𐳈𐳉𐳊𐳋𐳌𐳍𐳎𐳏𐳐𐳑𐳒𐳓𐳔𐳕𐳖𐳗𐳘𐳙𐳚𐳛𐳜𐳝𐳞𐳟𐳠𐳡𐳢𐳣𐳤𐳥𐳦𐳧𐳨𐳩𐳪𐳫𐳬𐳭𐳮𐳯𐳰𐳱𐳲𐵰𐵱𐵲𐵳𐵴𐵵𐵶𐵷𐵸𐵹𐵺𐵻𐵼𐵽𐵾𐵿𐶀𐶁𐶂𐶃𐶄𐶅𑣀𑣁𑣂𑣃𑣄𑣅𑣆𑣇𑣈𑣉'
        || '𑣊𑣋𑣌𑣍𑣎𑣏𑣐𑣑𑣒𑣓𑣔𑣕𑣖𑣗𑣘𑣙𑣚𑣛𑣜𑣝𑣞𑣟𖹠𖹡𖹢𖹣𖹤𖹥𖹦𖹧𖹨𖹩𖹪𖹫𖹬𖹭𖹮𖹯𖹰𖹱𖹲𖹳𖹴𖹵𖹶𖹷𖹸𖹹𖹺𖹻𖹼𖹽𖹾𖹿𖺻𖺼𖺽𖺾𖺿𖻀𖻁𖻂𖻃𖻄𖻅𖻆𖻇𖻈𖻉𖻊𖻋𖻌𖻍𖻎𖻏𖻐𖻑𖻒𖻓𞤢𞤣𞤤𞤥𞤦𞤧𞤨𞤩𞤪𞤫𞤬𞤭𞤮𞤯𞤰𞤱𞤲𞤳𞤴𞤵𞤶'
        || '𞤷𞤸𞤹𞤺𞤻𞤼𞤽𞤾𞤿𞥀𞥁𞥂𞥃'
    );
  end if;
  return v;
end $$;

-- The form in which texts are compared: "Novak" finds "Novák", and "O'Brien" "O’Brien". It does not depend on the database's
-- locale.
create function search_fold(given text) returns text
  language sql immutable strict parallel safe
  return replace(replace(replace(replace(
    translate(
      unicode_lower(
        -- NFKD separates letters from their diacritics, and makes full-width letters and ligatures plain ones. Removed are
        -- combining marks, Hebrew points and Arabic vowel signs.
        regexp_replace(
          -- These would become a space with a mark.
          normalize(translate(given, '´΄᾽᾿῾', ''''''''''''), NFKD),
          '[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]',
          '', 'g'
        )
      ) collate "C",
      -- Letters with a stroke or without a dot, and forms of one letter; apostrophes; dashes.
      'łøđðħŧŋıςᲀᲁᲂᲃᲄᲅᲆᲇᲈ' || '`‘’‛′‵ʹʻʼʽʾʿˈˊˋ՚׳ꞌ❛❜' || '‐‒–—―⁃−˗֊־᐀᠆⸗⸚⸺⸻⹀⹝〜〰゠➖𐵮𐺭',
      'loddhtniσвдосттъѣꙋ' || '''''''''''''''''''''''''''''''''''''''''' || '------------------------'
    ),
    'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');

-- The pattern for `like` that finds the term anywhere; % and _ in it stand for themselves.
create function search_pattern(term text) returns text
  language sql immutable strict parallel safe
  return '%' || regexp_replace(search_fold(term), '([\\%_])', '\\\1', 'g') || '%';

-- A text of a profile as the server makes it (domain::ProfileText): one line, trimmed, not empty.
create function is_profile_text(given text) returns boolean
  language sql immutable strict parallel safe
  return char_length(given) between 1 and 200
    and given collate "C" !~ '^[\u0020\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]|[\u0020\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$|[\u0001-\u001f\u007f-\u009f]';

create table customer (
  organisation_id             int8 not null references organisation (id),
  -- The public reference is the key: relations and sessions name customers by what clients know, so no statement has to
  -- look an internal id up. Byte order: an opaque reference is compared, never sorted for people.
  cu_ref_no                   text collate "C" not null
                              constraint customer_cu_ref_no_format check (cu_ref_no ~ '^[A-Za-z0-9]{16}$'),
  -- The normal form, made by the server (domain::Email). The database checks what it can see of it: one @, no dots in a row
  -- or at the ends, no quotes, comments, white space or invisible characters, no upper case, NFC, a domain of A-labels with
  -- two labels at least and a top level that is no number, the lengths of RFC 5321 and RFC 1035.
  email                       text collate "C"
                              constraint customer_email_normal_form check (
                                email ~ '^[^@.]+([.][^@.]+)*@([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])+[a-z0-9]([a-z0-9-]*[a-z0-9])?$'
                                and email !~ '[\u0001-\u0020"(),:;<>\[\\\]\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]'
                                and email !~ '[.][0-9]+$|[^@.]{64}[^@.]*([.][^@]*)?$'
                                and email is nfc normalized
                                and unicode_lower(email) = email
                                and octet_length(split_part(email, '@', 1)) <= 64
                                and octet_length(email) <= 254
                              ),
  first_name                  text,
  last_name                   text,
  company_name                text,
  phone                       text,
  company_registration_number text,
  tax_identification_number   text,
  -- The customer's own IP address, as the client's web server saw it (customerRealIp): an address, never a network.
  real_ip                     inet constraint customer_real_ip_is_host
                              check (masklen(real_ip) = case family(real_ip) when 4 then 32 else 128 end),
  created_at                  timestamptz not null default now(),
  -- When its profile last changed: what keeps another system in step compares it.
  updated_at                  timestamptz not null default now(),
  -- Hidden everywhere from this moment on; the row stays because relations reference it.
  deleted_at                  timestamptz,
  -- In the words of the operator who deleted it.
  deletion_reason             text constraint customer_deletion_reason_normal_form check (is_profile_text(deletion_reason)),
  -- Since then nothing personal of it is stored but its reference.
  erased_at                   timestamptz,
  -- The customer that holds its relations now. Null: it was not merged, or that customer was deleted since.
  merged_into_cu_ref_no       text collate "C",
  -- True if it was merged: the customer that holds its relations lives. A merged customer is deleted, so merges make neither
  -- rings nor chains.
  merged_into_living          boolean generated always as (case when merged_into_cu_ref_no is not null then true end) stored,
  -- True, or null once deleted: the target of the foreign keys of active relations.
  living                      boolean generated always as (case when deleted_at is null then true end) stored,
  -- The first name stands on both sides of the last name, so that either order finds it. A line break, which no term
  -- holds, keeps a term from reaching from one field into the next.
  search                      text collate "C" not null generated always as (
                                search_fold(
                                  coalesce(first_name, '') || ' ' || coalesce(last_name, '') || ' '
                                  || coalesce(first_name, '') || E'\n' || coalesce(company_name, '')
                                  || E'\n' || coalesce(email, '')
                                )
                              ) stored,
  constraint customer_cu_ref_no_key primary key (organisation_id, cu_ref_no),
  constraint customer_living_key unique (organisation_id, cu_ref_no, living),
  constraint customer_deletion_reason_of_deleted check (deletion_reason is null or deleted_at is not null),
  -- Only a deleted customer is erased, and nothing of it is filled in again.
  constraint customer_erased_is_empty check (
    erased_at is null or (deleted_at is not null and num_nonnulls(
      email, first_name, last_name, company_name, phone, company_registration_number, tax_identification_number, real_ip,
      deletion_reason
    ) = 0)
  ),
  -- A merge is a deletion: two living customers never stand for each other.
  constraint customer_merged_is_deleted check (merged_into_cu_ref_no is null or deleted_at is not null),
  constraint customer_merged_into_another check (merged_into_cu_ref_no <> cu_ref_no),
  -- Costs nothing while merged_into_cu_ref_no is null.
  constraint customer_merged_into_fkey foreign key (organisation_id, merged_into_cu_ref_no, merged_into_living)
    references customer (organisation_id, cu_ref_no, living),
  constraint customer_profile_normal_form check (
    is_profile_text(first_name) and is_profile_text(last_name) and is_profile_text(company_name) and is_profile_text(phone)
    and is_profile_text(company_registration_number) and is_profile_text(tax_identification_number)
  ),
  -- In their order, and finite: clients get them as dates.
  constraint customer_times check (
    isfinite(created_at) and isfinite(updated_at) and isfinite(deleted_at) and isfinite(erased_at)
    and created_at <= updated_at and created_at <= coalesce(deleted_at, created_at) and deleted_at <= erased_at
  )
);

-- Who was merged into a customer, when that one is deleted or merged itself.
create index customer_merged_into on customer (organisation_id, merged_into_cu_ref_no) where merged_into_cu_ref_no is not null;

-- Not of deleted customers: who registers with the e-mail address of one becomes a new customer.
create unique index customer_email_key on customer (organisation_id, email) where deleted_at is null;

-- Led by the organisation: a search costs nothing for the customers of others.
create index customer_search on customer using gin (organisation_id, search gin_trgm_ops) where deleted_at is null;

-- Whether the index finds the customers of the term quickly. Reading it costs as much as the rarest trigram of the term is
-- frequent, so each trigram is first looked for in a sample of the organisation's customers: references are random, the lowest
-- ones are as good as any. Up to 4 of 128 means nearly always less than a tenth of all. False if the term is too short for
-- trigrams.
create function is_rare_term(organisation int8, term text) returns boolean
language plpgsql stable parallel safe as $$
begin
  return (
    with sample as materialized (
      select search from customer where organisation_id = organisation and deleted_at is null
      order by cu_ref_no
      limit 128
    ),
    -- Letters and digits as pg_trgm sees them, by the database's locale.
    trigram as materialized (
      select distinct substr(word, start, 3) as trigram
      from regexp_split_to_table(search_fold(term) collate "default", '[^[:alnum:]]+') as word,
           generate_series(1, char_length(word) - 2) as start
      limit 32
    )
    select coalesce(min(hits) <= 4, false) from (
      select count(search) as hits
      from trigram left join sample on search like '%' || trigram || '%'
      group by trigram
    ) as counted
  );
end $$;
